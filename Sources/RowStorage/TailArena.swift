/// The payloads of a stretch of the tail, read in one sweep in order of arrival, so that a fold can go through them in
/// order of users without reading the tail's pages again and again. Tail rows never change, only vanish, so a copy
/// stays right for as long as the overlay still lists the row.

internal import CacheTypes

/// Owns copies of tail payloads.
final class TailArena {
  /// Where a payload starts; it ends where the next one does.
  private struct Slot {
    /// `seq - first`.
    var number: UInt32
    var offset: UInt32
  }
  private let first: Int64
  /// The last row that was looked at.
  private(set) var through: Int64
  /// In order of `seq`.
  private var slots: [Slot] = []
  private var bytes = ByteBuffer(capacity: 1 << 16)

  /// Bytes at which the arena takes no more.
  private static let byteLimit = 8 << 20
  /// Whether the next row's number is too far from the first one's to be told apart from it.
  private var isEnded = false
  var isFull: Bool { isEnded || bytes.count >= Self.byteLimit }

  /// - Parameter expectedCount: rows that are likely to come.
  init(after seq: Int64, expectedCount: Int) {
    first = seq + 1
    through = seq
    slots.reserveCapacity(expectedCount)
  }

  /// Reads at most `limit` of the rows up to `last`, or as many as there is room for. Checksums are verified here; a
  /// damaged row is left out, so that whoever asks for it reads it, and finds the damage, by its number.
  func read(_ session: WriteSession, through last: Int64, limit: Int64) throws(StoreError) {
    session.tailRange.bind(through, at: 1)
    session.tailRange.bind(last, at: 2)
    defer { session.tailRange.reset() }
    var count: Int64 = 0
    while try session.tailRange.step() {
      let row = try session.reading.readTailRow(session.tailRange)
      if row.seq - first >= Int64(UInt32.max) { isEnded = true }
      guard !isFull, count < limit else {
        through = row.seq - 1
        return
      }
      count += 1
      let checksum = session.tailRange.integer(5)
      unsafe session.tailRange.withBytes(6) { payload in
        guard unsafe RowChecksum.of(RowPlace(row), payload) == checksum else { return }
        slots.append(Slot(number: UInt32(row.seq - first), offset: UInt32(bytes.count)))
        unsafe bytes.append(payload)
      }
    }
    through = last
  }

  /// Copies a row's payload; false if it is not here.
  func copy(_ row: TailRow, _ cut: Range<Int>, into found: inout FoundRows) -> Bool {
    let number = row.seq - first
    var (low, high) = (0, slots.count)
    while low < high {
      let middle = (low + high) / 2
      if Int64(slots[middle].number) < number { low = middle + 1 } else { high = middle }
    }
    guard low < slots.count, Int64(slots[low].number) == number else { return false }
    let start = Int(slots[low].offset)
    let end = low + 1 < slots.count ? Int(slots[low + 1].offset) : bytes.count
    unsafe found.add(UnsafeRawBufferPointer(rebasing: bytes.bytes[start..<end]), RowPlace(row), cut)
    return true
  }
}
