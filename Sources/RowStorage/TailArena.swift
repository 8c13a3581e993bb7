/// The payloads of a stretch of the tail, read in one sweep in order of arrival, so that a fold can go through them in
/// order of users without reading the tail's pages again and again. Tail rows never change, only vanish, so a copy
/// stays right for as long as the overlay still lists the row.

internal import CacheTypes

/// Owns copies of tail payloads.
final class TailArena {
  private struct Slot {
    var seq: Int64
    var offset: UInt32
    var byteCount: UInt32
  }
  /// The last row that was looked at.
  private(set) var through: Int64
  /// In order of `seq`.
  private var slots: [Slot] = []
  private var bytes = ByteBuffer(capacity: 1 << 16)

  /// Bytes at which the arena takes no more.
  private static let byteLimit = 12 << 20
  var isFull: Bool { bytes.count >= Self.byteLimit }

  init(after seq: Int64) { through = seq }

  /// Reads the rows up to `last`, or as many as there is room for. Checksums are verified here.
  func read(_ session: WriteSession, through last: Int64) throws(StoreError) {
    session.tailRange.bind(through, at: 1)
    session.tailRange.bind(last, at: 2)
    defer { session.tailRange.reset() }
    let path = session.connection.path
    while try session.tailRange.step() {
      let row = try session.reading.readTailRow(session.tailRange)
      guard !isFull else {
        through = row.seq - 1
        return
      }
      let checksum = session.tailRange.integer(5)
      let start = bytes.count
      try unsafe session.tailRange.withBytes(6) { (payload) throws(StoreError) in
        guard unsafe RowChecksum.of(RowPlace(row), payload) == checksum else {
          throw .damaged("\(path): user \(row.user), position \(row.position): the row's checksum does not match")
        }
        unsafe bytes.append(payload)
      }
      slots.append(Slot(seq: row.seq, offset: UInt32(start), byteCount: UInt32(bytes.count - start)))
    }
    through = last
  }

  /// Copies a row's payload; false if it is not here.
  func copy(_ row: TailRow, _ cut: Range<Int>, into found: inout FoundRows) -> Bool {
    var (low, high) = (0, slots.count)
    while low < high {
      let middle = (low + high) / 2
      if slots[middle].seq < row.seq { low = middle + 1 } else { high = middle }
    }
    guard low < slots.count, slots[low].seq == row.seq else { return false }
    let start = Int(slots[low].offset)
    unsafe found.add(
      UnsafeRawBufferPointer(rebasing: bytes.bytes[start..<start + Int(slots[low].byteCount)]), RowPlace(row), cut)
    return true
  }
}
