import CacheTypes
import RowStorage
import Testing

/// User ids as somebody would choose them who wants another user's rows, or the database.
struct HostileUserTests {
  static let idCount = 20_000

  /// Random ids among ones that are close to each other in some way.
  private static func ids() -> Set<UserID> {
    var random = SplitMix64(seed: 20_000)
    var ids: Set<UserID> = []
    let texts: [String] = [
      "'; DROP TABLE tail; --", "\" OR 1=1 --", "x'07'", "7", "-7", "NULL", "?1", "%s%n", "../../etc/passwd", "\u{0}",
      "é",
      "e\u{301}", "ﬁ", "fi", "\u{202E}", "ß", "SS", "ss",
    ]
    for text in texts { ids.insert(.bytes(Array(text.utf8))) }
    let numbers: [Int64] = [.min, .min + 1, -1, 0, 1, 2_147_483_647, 2_147_483_648, 4_294_967_296, .max - 1, .max]
    for number in numbers {
      ids.insert(.integer(number))
      // The same eight bytes, and the same digits.
      ids.insert(.bytes((0..<8).map { (byte: Int) -> UInt8 in UInt8(truncatingIfNeeded: number >> Int64(byte * 8)) }))
      ids.insert(.bytes(Array("\(number)".utf8)))
    }
    while ids.count < idCount {
      switch UInt8.random(in: 0..<4, using: &random) {
      case 0: ids.insert(.integer(Int64(bitPattern: UInt64.random(in: 0...(.max), using: &random))))
      case 1: ids.insert(.integer(Int64.random(in: -5_000...5_000, using: &random)))
      case 2:
        // A few values, so that ids are prefixes of each other and equal but for zeros.
        let count = Int.random(in: 0...6, using: &random)
        let few: [UInt8] = [0, 1, 0x27, 0xFF]
        ids.insert(.bytes((0..<count).map { _ in few.randomElement(using: &random)! }))
      default:
        let count = Int.random(in: 1...255, using: &random)
        ids.insert(.bytes((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }))
      }
    }
    return ids
  }

  @Test func `no two user ids meet, and none is more than an id`() throws {
    let sample = try SampleStore(Sample.plain, element: .f16)
    let store = try sample.open()
    let users = Self.ids().sorted()
    let tags = (0..<UInt32(users.count)).map { $0 }
    let runs = users.indices.map { Run(user: users[$0], rows: $0..<$0 + 1) }
    let lengths = try store.append(Sample.entries(tags, Sample.plain), runs)
    let met = lengths.count { $0 != 1 }
    #expect(met == 0)
    func expectAll() throws {
      #expect(try store.users() == users)
      for (index, user) in users.enumerated() {
        let rows = try store.read(user, .all)
        #expect(rows.length == 1 && rows.entries == Sample.entries([UInt32(index)], Sample.plain), "\(user)")
      }
    }
    try expectAll()
    try store.fold()
    try expectAll()
    #expect(try store.problems() == [])
    for user in users.prefix(50) { #expect(try store.delete(user).positions == 1) }
    #expect(try store.users() == Array(users.dropFirst(50)))
  }
}
