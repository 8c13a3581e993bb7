import CacheTypes
import RowStorage
import Testing

struct RowChecksumTests {
  static func checksum(
    _ user: UserID = .integer(7), position: Int = 3, count: Int = 2, generation: Int64 = 1,
    payload: [UInt8] = [1, 2, 3]
  ) -> Int64 {
    payload.withUnsafeBytes {
      RowChecksum.of(RowPlace(user: user, position: position, count: count, generation: generation), $0)
    }
  }

  @Test func `every field of a row changes its checksum`() {
    var seen: Set<Int64> = [Self.checksum()]
    let others: [Int64] = [
      Self.checksum(.integer(8)), Self.checksum(.integer(-7)), Self.checksum(.integer(7 << 56)),
      Self.checksum(.bytes([7])), Self.checksum(.bytes([7, 0, 0, 0, 0, 0, 0, 0])), Self.checksum(.bytes([])),
      Self.checksum(.bytes([0])), Self.checksum(.bytes(Array(repeating: 7, count: 255))),
      Self.checksum(position: 4), Self.checksum(position: 3 + 1 << 32), Self.checksum(count: 3),
      Self.checksum(count: 0),
      Self.checksum(generation: 2), Self.checksum(generation: 257), Self.checksum(payload: []),
      Self.checksum(payload: [1, 2, 3, 0]), Self.checksum(payload: [1, 2]), Self.checksum(payload: [1, 2, 2]),
    ]
    for checksum in others {
      let isNew = seen.insert(checksum).inserted
      #expect(isNew)
    }
    #expect(seen.count == others.count + 1)
  }

  @Test func `every bit of the position, the count, the user and the payload counts`() {
    var seen: Set<Int64> = []
    var expected = 0
    func add(_ checksum: Int64) {
      seen.insert(checksum)
      expected += 1
    }
    for bit in 0..<31 { add(Self.checksum(position: 1 << bit)) }
    for bit in 0..<17 where bit != 1 { add(Self.checksum(count: 1 << bit)) }
    for bit in 1..<16 { add(Self.checksum(generation: 1 << Int64(bit))) }
    for bit in 0..<64 { add(Self.checksum(.integer(1 << Int64(bit)))) }
    for bit in 0..<800 {
      var payload = [UInt8](repeating: 0, count: 100)
      payload[bit / 8] = 1 << UInt8(bit % 8)
      add(Self.checksum(payload: payload))
    }
    #expect(seen.count == expected)
  }
}
