/// Memory that a call of a hash function uses: codes, what they are made of where no table is kept, and what is found
/// among them. A few pieces are kept for the calls to come; large ones are given back. Whoever takes one uses it alone;
/// nothing is read from it that the same call has not written.

internal import CKernels
internal import Synchronization

@safe
final class HashScratch: @unchecked Sendable {
  /// What a call needs room for.
  struct Need {
    var positions: Int
    var longestRange: Int
    var words: Int
    /// Dot products of a query with all rotations.
    var bits: Int
    /// Numbers that are made anew where nothing is kept: coefficients, and products of pool rows with rotations.
    var coefficients: Int
    var products: Int
    /// Rows of the pool, if those in use are listed.
    var poolRows: Int
  }

  /// Codes of the call's positions, and of one query.
  private(set) var codes: UnsafeMutablePointer<UInt64>
  private(set) var query: UnsafeMutablePointer<UInt64>
  private(set) var queryDots: UnsafeMutablePointer<Float>
  private(set) var coefficients: UnsafeMutablePointer<Float>
  private(set) var products: UnsafeMutablePointer<Float>
  /// Pool rows in use, a mark and a place in the list for each row of the pool, and the place of each position's row.
  private(set) var list: UnsafeMutablePointer<UInt32>
  private(set) var marks: UnsafeMutablePointer<UInt8>
  private(set) var listPlaces: UnsafeMutablePointer<UInt32>
  private(set) var ranks: UnsafeMutablePointer<UInt32>
  /// Per position of a range: how many bits differ, what was found, and weights.
  private(set) var distances: UnsafeMutablePointer<UInt32>
  private(set) var places: UnsafeMutablePointer<UInt32>
  private(set) var weights: UnsafeMutablePointer<Float>
  private var memory: UnsafeMutableRawBufferPointer

  private init() {
    unsafe memory = .allocate(byteCount: 0, alignment: 64)
    let nowhere = unsafe UnsafeMutableRawPointer(bitPattern: 64)!
    unsafe codes = nowhere.assumingMemoryBound(to: UInt64.self)
    unsafe query = codes
    unsafe queryDots = nowhere.assumingMemoryBound(to: Float.self)
    unsafe (coefficients, products, weights) = (queryDots, queryDots, queryDots)
    unsafe list = nowhere.assumingMemoryBound(to: UInt32.self)
    unsafe (listPlaces, ranks, distances, places) = (list, list, list, list)
    unsafe marks = nowhere.assumingMemoryBound(to: UInt8.self)
  }

  deinit { unsafe memory.deallocate() }

  // MARK: Keeping

  private static let kept = Mutex<[HashScratch]>([])
  private static let keptCount = 8
  private static let keptByteCount = 1 << 20

  /// A piece with room for what is needed, for the caller alone until it gives it back.
  static func take(for need: Need) -> HashScratch {
    let scratch = kept.withLock { $0.popLast() } ?? HashScratch()
    scratch.layOut(need)
    return scratch
  }

  func giveBack() {
    guard unsafe memory.count <= Self.keptByteCount else { return }
    Self.kept.withLock { if $0.count < Self.keptCount { $0.append(self) } }
  }

  // MARK: Layout

  private func layOut(_ need: Need) {
    var byteCount = 0
    func place(_ count: Int, of size: Int = 4) -> Int {
      let start = byteCount
      byteCount += (count * size + 63) / 64 * 64 + 64
      return start
    }
    let at = (
      codes: place(need.positions * need.words, of: 8), query: place(need.words, of: 8), queryDots: place(need.bits),
      coefficients: place(need.coefficients), products: place(need.products), list: place(need.poolRows),
      marks: place(need.poolRows, of: 1), listPlaces: place(need.poolRows),
      ranks: place(need.poolRows > 0 ? need.positions : 0), distances: place(need.longestRange),
      places: place(need.longestRange), weights: place(need.longestRange)
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
    unsafe codes = (start + at.codes).assumingMemoryBound(to: UInt64.self)
    unsafe query = (start + at.query).assumingMemoryBound(to: UInt64.self)
    unsafe (queryDots, coefficients, products) = (floats(at.queryDots), floats(at.coefficients), floats(at.products))
    unsafe (list, listPlaces, ranks) = (numbers(at.list), numbers(at.listPlaces), numbers(at.ranks))
    unsafe marks = (start + at.marks).assumingMemoryBound(to: UInt8.self)
    unsafe (distances, places, weights) = (numbers(at.distances), numbers(at.places), floats(at.weights))
  }
}
