/// Memory that a block of queries uses anew: tables, weights and sums of CKV_BLOCK queries side by side. A few pieces
/// are kept for the calls to come; large ones are given back. Whoever takes one uses it alone; nothing is read from it
/// that the same block has not written.

internal import CKernels
internal import Synchronization

@safe
final class BlockScratch: @unchecked Sendable {
  /// What a block needs room for.
  struct Need {
    /// Positions that some query sees.
    var positions: Int
    /// Rows of each pool that are marked and ranked; 0 where positions are read one by one.
    var keyRows: Int
    var valueRows: Int
    /// Heads whose sums are held at the same time.
    var heads: Int
    /// Dimensions of the wider user part.
    var dimensions: Int
  }

  /// Pool rows in use, a mark and a place in their list for each row of a pool, and the place of each position's row.
  private(set) var keyList: UnsafeMutablePointer<UInt32>
  private(set) var keyRanks: UnsafeMutablePointer<UInt32>
  private(set) var valueList: UnsafeMutablePointer<UInt32>
  private(set) var valueRanks: UnsafeMutablePointer<UInt32>
  private(set) var places: UnsafeMutablePointer<UInt32>
  /// Pool indices of positions that do not follow each other in the columns.
  private(set) var keyIndices: UnsafeMutablePointer<UInt32>
  private(set) var valueIndices: UnsafeMutablePointer<UInt32>
  private(set) var marks: UnsafeMutablePointer<UInt8>
  /// Dot products of listed rows or of positions; weights per position; sums of weights per listed row and head.
  private(set) var products: UnsafeMutablePointer<Float>
  private(set) var weights: UnsafeMutablePointer<Float>
  private(set) var sums: UnsafeMutablePointer<Float>
  /// Per dimension of a user part: the queries' factors, and per head the sums of weighted numbers.
  private(set) var coefficients: UnsafeMutablePointer<Float>
  private(set) var ownSums: UnsafeMutablePointer<Float>
  /// The queries' own numbers of a last position that each has to itself, side by side per dimension.
  private(set) var last: UnsafeMutablePointer<Float>
  /// Of one query.
  private(set) var own: UnsafeMutablePointer<Float>
  /// Per query; `headTotals` also per head of a group.
  private(set) var counts: UnsafeMutablePointer<UInt32>
  private(set) var headTotals: UnsafeMutablePointer<Double>
  private(set) var greatest: UnsafeMutablePointer<Float>
  private(set) var scales: UnsafeMutablePointer<Float>
  private(set) var totals: UnsafeMutablePointer<Double>
  private var memory: UnsafeMutableRawBufferPointer

  private init() {
    unsafe memory = .allocate(byteCount: 0, alignment: 64)
    let nowhere = unsafe UnsafeMutableRawPointer(bitPattern: 64)!
    unsafe keyList = nowhere.assumingMemoryBound(to: UInt32.self)
    unsafe (keyRanks, valueList, valueRanks, places) = (keyList, keyList, keyList, keyList)
    unsafe (keyIndices, valueIndices, counts) = (keyList, keyList, keyList)
    unsafe marks = nowhere.assumingMemoryBound(to: UInt8.self)
    unsafe products = nowhere.assumingMemoryBound(to: Float.self)
    unsafe (weights, sums, coefficients, ownSums) = (products, products, products, products)
    unsafe (own, last, greatest, scales) = (products, products, products, products)
    unsafe totals = nowhere.assumingMemoryBound(to: Double.self)
    unsafe headTotals = totals
  }

  deinit { unsafe memory.deallocate() }

  // MARK: Keeping

  private static let kept = Mutex<[BlockScratch]>([])
  private static let keptCount = 8
  private static let keptByteCount = 4 << 20

  static func take() -> BlockScratch { kept.withLock { $0.popLast() } ?? BlockScratch() }

  func giveBack() {
    guard unsafe memory.count <= Self.keptByteCount else { return }
    Self.kept.withLock { if $0.count < Self.keptCount { $0.append(self) } }
  }

  // MARK: Layout

  func layOut(_ need: Need) {
    let block = QueryBlocks.size
    var byteCount = 0
    func place(_ count: Int, of size: Int = 4) -> Int {
      let start = byteCount
      byteCount += (count * size + 63) / 64 * 64 + 64
      return start
    }
    let rows = max(need.keyRows, need.valueRows)
    let at = (
      keyList: place(need.keyRows), keyRanks: place(need.positions), valueList: place(need.valueRows),
      valueRanks: place(need.positions), places: place(rows), marks: place(rows, of: 1),
      products: place((need.keyRows > 0 ? min(need.keyRows, need.positions) : need.positions) * block),
      weights: place(need.positions * block),
      sums: place(min(need.valueRows, need.positions) * need.heads * block),
      coefficients: place(need.dimensions * block), ownSums: place(need.dimensions * need.heads * block),
      keyIndices: place(need.positions), valueIndices: place(need.positions), last: place(need.dimensions * block),
      counts: place(block), headTotals: place(block * HeadGroup.size, of: 8), own: place(need.dimensions),
      greatest: place(block), scales: place(block), totals: place(block, of: 8)
    )
    if unsafe memory.count < byteCount {
      unsafe memory.deallocate()
      unsafe memory = .allocate(byteCount: byteCount, alignment: 64)
    }
    let start = unsafe memory.baseAddress!
    func floats(_ place: Int) -> UnsafeMutablePointer<Float> {
      unsafe (start + place).assumingMemoryBound(to: Float.self)
    }
    func numbers(_ place: Int) -> UnsafeMutablePointer<UInt32> {
      unsafe (start + place).assumingMemoryBound(to: UInt32.self)
    }
    unsafe (keyList, keyRanks) = (numbers(at.keyList), numbers(at.keyRanks))
    unsafe (valueList, valueRanks) = (numbers(at.valueList), numbers(at.valueRanks))
    unsafe places = numbers(at.places)
    unsafe marks = (start + at.marks).assumingMemoryBound(to: UInt8.self)
    unsafe (products, weights, sums) = (floats(at.products), floats(at.weights), floats(at.sums))
    unsafe (coefficients, ownSums, own) = (floats(at.coefficients), floats(at.ownSums), floats(at.own))
    unsafe (greatest, scales) = (floats(at.greatest), floats(at.scales))
    unsafe last = floats(at.last)
    unsafe (keyIndices, valueIndices) = (numbers(at.keyIndices), numbers(at.valueIndices))
    unsafe counts = numbers(at.counts)
    unsafe totals = (start + at.totals).assumingMemoryBound(to: Double.self)
    unsafe headTotals = (start + at.headTotals).assumingMemoryBound(to: Double.self)
  }

  /// How many positions each query sees; the missing ones see all.
  func setCounts(_ block: QueryBlock, _ positions: Int) {
    unsafe counts.update(repeating: UInt32(positions), count: QueryBlocks.size)
    guard case .first(let seen) = unsafe block.view else { return }
    for (query, count) in seen.enumerated() { unsafe counts[query] = UInt32(count) }
  }
}
