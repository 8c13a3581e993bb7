/// The payloads of a stretch of the tail, read in one sweep in order of arrival, so that a fold can go through them in
/// order of users without reading the tail's pages again and again. Tail rows never change, only vanish, so a copy stays
/// right for as long as the overlay still lists the row.

internal import CacheTypes

/// Owns copies of tail payloads.
final class TailArena {
  private struct Slot {
    var offset: UInt32
    var byteCount: UInt32
  }
  private let first: Int64
  /// The last row that is here; rows after it did not fit.
  private(set) var through: Int64
  /// By `seq - first`.
  private var slots: [Slot] = []
  private var bytes = ByteBuffer(capacity: 1 << 16)

  /// Reads rows `after < seq <= last` until `byteLimit` is reached. Checksums are verified here.
  init(_ session: WriteSession, after: Int64, through last: Int64, byteLimit: Int) throws(StoreError) {
    first = after + 1
    through = last
    session.tailRange.bind(after, at: 1)
    session.tailRange.bind(last, at: 2)
    defer { session.tailRange.reset() }
    while try session.tailRange.step() {
      let seq = session.tailRange.integer(0)
      let path = session.connection.path
      guard bytes.count < byteLimit else {
        through = seq - 1
        break
      }
      let place = RowPlace(try session.reading.readTailRow(session.tailRange))
      let checksum = session.tailRange.integer(5)
      while slots.count < Int(seq - first) { slots.append(Slot(offset: 0, byteCount: .max)) }
      slots.append(Slot(offset: UInt32(bytes.count), byteCount: 0))
      try unsafe session.tailRange.withBytes(6) { (payload) throws(StoreError) in
        guard unsafe RowChecksum.of(place, payload) == checksum else {
          throw .damaged("\(path): user \(place.user), position \(place.position): the row's checksum does not match")
        }
        slots[slots.count - 1].byteCount = UInt32(payload.count)
        unsafe bytes.append(payload)
      }
    }
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
