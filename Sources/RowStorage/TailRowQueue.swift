/// The overlay's rows, oldest first, in chunks: what is dropped at the front is given back at once, and growing moves
/// nothing. A row's place is its number since the last renumbering.

/// A queue of tail rows with stable places.
struct TailRowQueue {
  private static let chunkBits = 12
  private static let chunkCapacity = 1 << chunkBits
  private var chunks: [ContiguousArray<TailRow>] = []
  /// Rows at the front of the first chunk that were dropped.
  private var head = 0
  /// The place of the first row of the first chunk.
  private var start: UInt32 = 0
  private(set) var count = 0

  var first: TailRow? { count > 0 ? self[oldest] : nil }
  var last: TailRow? { count > 0 ? self[oldest + UInt32(count) - 1] : nil }
  private var oldest: UInt32 { start + UInt32(head) }
  var places: Range<UInt32> { oldest..<oldest + UInt32(count) }

  @inline(__always)
  func contains(_ place: UInt32) -> Bool { places.contains(place) }

  @inline(__always)
  subscript(place: UInt32) -> TailRow {
    let offset = Int(place - start)
    return chunks[offset >> Self.chunkBits][offset & (Self.chunkCapacity - 1)]
  }

  /// - Returns: the row's place.
  mutating func append(_ row: TailRow) -> UInt32 {
    if chunks.last?.count ?? Self.chunkCapacity == Self.chunkCapacity {
      var chunk = ContiguousArray<TailRow>()
      chunk.reserveCapacity(Self.chunkCapacity)
      chunks.append(chunk)
    }
    chunks[chunks.count - 1].append(row)
    count += 1
    return oldest + UInt32(count) - 1
  }

  mutating func removeFirst() {
    head += 1
    count -= 1
    guard head == Self.chunkCapacity else { return }
    chunks.removeFirst()
    head = 0
    start += UInt32(Self.chunkCapacity)
  }

  /// Lets places begin at 0 again, so that they never run out; chains follow.
  mutating func renumber() {
    let oldest = oldest
    for chunk in chunks.indices {
      for index in chunks[chunk].indices {
        let previous = chunks[chunk][index].previous
        chunks[chunk][index].previous = previous == Overlay.none || previous < oldest ? Overlay.none : previous - start
      }
    }
    start = 0
  }
}
