import RowStorage
import Testing

struct IntegerColumnTests {
  static func packed(_ values: [Int64], _ rows: Range<Int>? = nil) -> [UInt8] {
    var buffer = ByteBuffer(capacity: 16)
    IntegerColumn.pack(values, rows ?? 0..<values.count, into: &buffer)
    return Array(buffer.bytes)
  }

  static func unpacked(_ bytes: [UInt8], _ range: Range<Int>) -> [Int64] {
    var column = [Int64](repeating: -1, count: range.count + 2)
    bytes.withUnsafeBytes { IntegerColumn.unpack($0, range: range, into: &column, at: 1) }
    #expect(column.first == -1 && column.last == -1)
    return Array(column.dropFirst().dropLast())
  }

  @Test(arguments: 0...64)
  func `differences of every width come back`(bits: Int) {
    var random = SplitMix64(seed: UInt64(bits) + 1_000)
    let mask: UInt64 = bits == 64 ? .max : (1 << UInt64(bits)) - 1
    for count in 1...18 {
      let low = bits == 64 ? Int64.min : Int64(truncatingIfNeeded: random.next() >> 2) >> Int64(bits / 2)
      let values = (0..<count).map { index in
        low &+ Int64(bitPattern: index == 0 ? 0 : index == 1 ? mask : random.next() & mask)
      }
      let bytes = Self.packed(values)
      #expect(Self.unpacked(bytes, 0..<count) == values)
      let from = count / 3
      #expect(Self.unpacked(bytes, from..<count) == Array(values[from...]))
    }
  }

  @Test func `extremes and constant columns come back`() {
    for values in [[Int64.min, Int64.max], [.max, .max, .max], [.min], [0], [-1, 0, 1], [Int64.min, .min + 1]] {
      #expect(Self.unpacked(Self.packed(values), 0..<values.count) == values)
    }
    #expect(Self.packed([7, 7, 7]).count == IntegerColumn.headerByteCount)
    #expect(Self.packed([]).count == IntegerColumn.headerByteCount)
  }

  @Test func `a part of a column is packed like a column of its own`() {
    let values: [Int64] = [5, 900, -3, 17, 44, 2]
    #expect(Self.packed(values, 2..<5) == Self.packed(Array(values[2..<5])))
  }

  @Test func `a column that does not fit its bytes is refused`() {
    let bytes = Self.packed([1, 2, 3, 400])
    for length in 0...bytes.count {
      let size = bytes[..<length].withUnsafeBytes { IntegerColumn.byteCount(at: $0, count: 4) }
      #expect(size == (length == bytes.count ? bytes.count : nil))
    }
    for width in 65...255 {
      var wrong = bytes
      wrong[8] = UInt8(width)
      wrong += [UInt8](repeating: 0, count: 200)
      #expect(wrong.withUnsafeBytes { IntegerColumn.byteCount(at: $0, count: 4) } == nil)
    }
  }
}
