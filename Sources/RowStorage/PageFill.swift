/// How the pages of the table `block` fill when its rows are written in the order of their keys, which is how SQLite's
/// VACUUM writes them: each row goes on the last page if it fits there, and on a new one if it does not. Knowing that,
/// vacuum cuts histories where pages end. A wrong guess here would cost space and nothing else.

/// The last page, so far.
struct PageFill {
  /// Bytes for cells and their pointers.
  private let capacity: Int
  /// A longer record spills to overflow pages.
  private let longestRecord: Int
  private var free = 0

  init(pageByteCount: Int) {
    capacity = pageByteCount - RowLayout.pageOverheadByteCount
    longestRecord = pageByteCount - 8 - 35
  }

  /// Bytes that the payload of a row with this key may have: what is left of the page, or if that is less than
  /// `leastShare` of a page, what a new one has. A row costs a key and a checksum, and one more page costs a reader.
  func budget(for key: Int64, leastShare: Int) -> Int {
    let room = free >= capacity / leastShare ? free : capacity
    // What a cell needs beside its payload, at most.
    let record = min(room - Self.pointerByteCount - 3 - Self.variableByteCount(key), longestRecord)
    let payload = 1 << 14
    return record - Self.recordByteCount(count: 1 << 16, generation: 1 << 16, payloadByteCount: payload) + payload
  }

  /// Takes note of a row.
  mutating func add(key: Int64, count: Int, generation: Int64, payloadByteCount: Int) {
    let record = Self.recordByteCount(count: count, generation: generation, payloadByteCount: payloadByteCount)
    let cell =
      Self.variableByteCount(Int64(record)) + Self.variableByteCount(key) + min(record, longestRecord)
      + Self.pointerByteCount
    if cell > free { free = capacity }
    free -= min(cell, free)
  }

  // MARK: SQLite's record format

  private static let pointerByteCount = 2

  /// A record: a header of serial types (its own size, the key's place, count, generation, checksum, payload), then the
  /// columns. The key itself is not part of it.
  private static func recordByteCount(count: Int, generation: Int64, payloadByteCount: Int) -> Int {
    let blobType = variableByteCount(Int64(payloadByteCount) * 2 + 12)
    return 5 + blobType + integerByteCount(Int64(count)) + integerByteCount(generation) + 8 + payloadByteCount
  }

  /// Bytes of SQLite's variable-length integer.
  private static func variableByteCount(_ value: Int64) -> Int {
    let bits = UInt64.bitWidth - UInt64(bitPattern: value).leadingZeroBitCount
    return min(9, max(1, (bits + 6) / 7))
  }

  /// Bytes of an integer column.
  private static func integerByteCount(_ value: Int64) -> Int {
    switch value {
    case 0, 1: 0
    case -128...127: 1
    case -32_768...32_767: 2
    case -8_388_608...8_388_607: 3
    default: 4
    }
  }
}
