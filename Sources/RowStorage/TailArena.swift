/// The payloads of a stretch of the tail, read in one sweep in order of arrival, so that a fold can go through them in
/// order of users without reading the tail's pages again and again. Tail rows never change, only vanish, so a copy stays
/// right for as long as the overlay still lists the row.

internal import CacheTypes

/// Owns copies of tail payloads.
final class TailArena {
  private struct Slot {
    var offset: UInt32
    var byteCount: UInt32
    static let missing = Slot(offset: 0, byteCount: .max)
  }
  private let first: Int64
  /// The last row that was looked at.
  private(set) var through: Int64
  /// By `seq - first`.
  private var slots: [Slot] = []
  private var bytes = ByteBuffer(capacity: 1 << 16)

  var byteCount: Int { bytes.count }

  init(after seq: Int64) {
    first = seq + 1
    through = seq
  }

  /// Reads the rows up to `last`. Checksums are verified here.
  func read(_ session: WriteSession, through last: Int64) throws(StoreError) {
    session.tailRange.bind(through, at: 1)
    session.tailRange.bind(last, at: 2)
    defer { session.tailRange.reset() }
    let path = session.connection.path
    while try session.tailRange.step() {
      let row = try session.reading.readTailRow(session.tailRange)
      let checksum = session.tailRange.integer(5)
      while slots.count < Int(row.seq - first) { slots.append(.missing) }
      let start = bytes.count
      try unsafe session.tailRange.withBytes(6) { (payload) throws(StoreError) in
        guard unsafe RowChecksum.of(RowPlace(row), payload) == checksum else {
          throw .damaged("\(path): user \(row.user), position \(row.position): the row's checksum does not match")
        }
        unsafe bytes.append(payload)
      }
      slots.append(Slot(offset: UInt32(start), byteCount: UInt32(bytes.count - start)))
    }
    through = last
  }

  /// Copies a row's payload; false if it is not here.
  func copy(_ row: TailRow, _ cut: Range<Int>, into found: inout FoundRows) -> Bool {
    let index = row.seq - first
    guard index >= 0, index < slots.count, slots[Int(index)].byteCount != .max else { return false }
    let slot = slots[Int(index)]
    let start = Int(slot.offset)
    unsafe found.add(
      UnsafeRawBufferPointer(rebasing: bytes.bytes[start..<start + Int(slot.byteCount)]), RowPlace(row), cut)
    return true
  }
}
