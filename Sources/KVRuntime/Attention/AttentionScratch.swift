/// Memory that every query of a call uses anew: scores, tables, lists of pool rows. A few pieces are kept for the calls
/// to come, since allocating and clearing them took a tenth of a short call; large ones are given back. Whoever takes
/// one uses it alone; nothing is read from it that the same query has not written.

internal import CKernels
internal import Synchronization

@safe
final class AttentionScratch: @unchecked Sendable {
  /// What a call needs room for.
  struct Need {
    /// Positions of the longest range.
    var positions: Int
    /// Rows of the keys' pool if some range uses a table, of the values' pool if one uses sums; otherwise 0.
    var keyRows: Int
    var valueRows: Int
    /// Positions that a pool row each is read for at most.
    var gathered: Int
    var heads: Int
    /// Dimensions of the wider user part.
    var dimensions: Int
  }

  /// One per position of the longest range and, where heads share passes, per head of a group: scores, then weights.
  private(set) var scores: UnsafeMutablePointer<Float>
  /// t: per row of the keys' pool.
  private(set) var table: UnsafeMutablePointer<Float>
  /// Dot products of pool rows in use, or of positions.
  private(set) var products: UnsafeMutablePointer<Float>
  /// The keys' pool rows in use, and a mark for each row of that pool.
  private(set) var usedRows: UnsafeMutablePointer<UInt32>
  private(set) var marks: UnsafeMutablePointer<UInt8>
  /// h: per row of the values' pool; then the rows in use and their sums, or one per position.
  private(set) var sums: UnsafeMutablePointer<Float>
  private(set) var rows: UnsafeMutablePointer<UInt32>
  private(set) var weights: UnsafeMutablePointer<Float>
  /// One per dimension of the wider user part.
  private(set) var coefficients: UnsafeMutablePointer<Float>
  /// One per head of a group: the sum of its weights, and what its output is multiplied with.
  private(set) var totals: UnsafeMutablePointer<Double>
  private(set) var scales: UnsafeMutablePointer<Float>
  /// The table of the query at hand where somebody has made it, laid out as `CandidateTables` says.
  var candidate: UnsafePointer<Float>?
  private var memory: UnsafeMutableRawBufferPointer

  private init() {
    unsafe memory = .allocate(byteCount: 0, alignment: 64)
    let nowhere = unsafe UnsafeMutableRawPointer(bitPattern: 64)!
    unsafe scores = nowhere.assumingMemoryBound(to: Float.self)
    unsafe (table, products, sums, weights, coefficients) = (scores, scores, scores, scores, scores)
    unsafe (totals, scales) = (nowhere.assumingMemoryBound(to: Double.self), scores)
    unsafe usedRows = nowhere.assumingMemoryBound(to: UInt32.self)
    unsafe rows = usedRows
    unsafe marks = nowhere.assumingMemoryBound(to: UInt8.self)
  }

  deinit { unsafe memory.deallocate() }

  // MARK: Keeping

  /// Pieces kept for later calls, at most so many, none larger than so much.
  private static let kept = Mutex<[AttentionScratch]>([])
  private static let keptCount = 8
  private static let keptByteCount = 1 << 20

  /// A piece with room for what is needed, for the caller alone until it gives it back.
  static func take(for need: Need) -> AttentionScratch {
    let scratch = kept.withLock { $0.popLast() } ?? AttentionScratch()
    scratch.layOut(need)
    return scratch
  }

  func giveBack() {
    unsafe candidate = nil
    guard unsafe memory.count <= Self.keptByteCount else { return }
    Self.kept.withLock { if $0.count < Self.keptCount { $0.append(self) } }
  }

  // MARK: Layout

  private func layOut(_ need: Need) {
    let group = need.heads > 1 ? HeadGroup.size : 1
    let (keyRows, valueRows) = (need.keyRows, need.valueRows)
    var byteCount = 0
    /// Each piece starts on a boundary of 64 bytes and a vector's length away from the next.
    func place(_ count: Int, of size: Int) -> Int {
      let start = byteCount
      byteCount += (count * size + 63) / 64 * 64 + 64
      return start
    }
    let places = (
      scores: place(need.positions * group, of: 4), table: place(keyRows * group, of: 4),
      products: place(max(keyRows, need.gathered) * group, of: 4), usedRows: place(keyRows, of: 4),
      marks: place(keyRows, of: 1), sums: place(valueRows * group, of: 4), rows: place(valueRows, of: 4),
      weights: place(max(valueRows, need.gathered) * group, of: 4), coefficients: place(need.dimensions, of: 4),
      totals: place(HeadGroup.size, of: 8), scales: place(HeadGroup.size, of: 4)
    )
    if unsafe memory.count < byteCount {
      unsafe memory.deallocate()
      unsafe memory = .allocate(byteCount: byteCount, alignment: 64)
    }
    let start = unsafe memory.baseAddress!
    unsafe scores = (start + places.scores).assumingMemoryBound(to: Float.self)
    unsafe table = (start + places.table).assumingMemoryBound(to: Float.self)
    unsafe products = (start + places.products).assumingMemoryBound(to: Float.self)
    unsafe usedRows = (start + places.usedRows).assumingMemoryBound(to: UInt32.self)
    unsafe marks = (start + places.marks).assumingMemoryBound(to: UInt8.self)
    unsafe sums = (start + places.sums).assumingMemoryBound(to: Float.self)
    unsafe rows = (start + places.rows).assumingMemoryBound(to: UInt32.self)
    unsafe weights = (start + places.weights).assumingMemoryBound(to: Float.self)
    unsafe coefficients = (start + places.coefficients).assumingMemoryBound(to: Float.self)
    unsafe totals = (start + places.totals).assumingMemoryBound(to: Double.self)
    unsafe scales = (start + places.scales).assumingMemoryBound(to: Float.self)
  }
}
