/// Hash codes of keys and queries, one bit per rotation: the sign of a dot product with the whole key. The keys' come
/// from the compressed form, (P_k R_c^T)[I_k] + R_u u_k, many rotations side by side: dot products with pool rows, out
/// of a table or scored here, then the user part's on top, then the sign of the sum. Each sum is built as that of a
/// query's score, so it is the same bits on every way.

internal import CKernels
internal import CacheTypes

/// The codes of one user's positions, the groups' bits one after the other. Not for two threads at once.
@safe
final class HashCodes {
  let groups: Int
  let groupBits: Int
  /// 64-bit words of a code.
  let words: Int
  /// Also what those who search the codes put down: distances, places, weights.
  let scratch: HashScratch
  private let rotations: HashRotations
  private let shape: PartShape
  private let positions: Range<Int>
  private let kernels: ckv_hash_kernels
  private let kept: KeptHashes?
  /// Steps whose products are held at the same time, where rows in use are listed.
  private let stepsAtOnce: Int

  /// Products of listed rows that are held at the same time, if more than one step's.
  private static let heldCount = 1 << 18
  /// Positions whose products are held where their rows are read one by one.
  private static let runPositions = 256

  /// - Parameter positions: what is hashed at most.
  /// - Precondition: the tensors fit the shape.
  init(
    _ rotations: HashRotations, _ shape: LayerShape, _ tensors: LayerTensors, positions: Range<Int>, longestRange: Int
  ) {
    let key = shape.key
    precondition(rotations.values.count == rotations.bitCount * key.width)
    precondition(rotations.kept == nil || rotations.kept!.fits(key, tensors.key.pool), "kept with their own model")
    self.rotations = rotations
    groups = rotations.groups
    groupBits = rotations.bits
    self.shape = key
    self.positions = positions
    words = rotations.words
    kept = rotations.kept
    kernels = Kernels.activeHashes
    let listed = Self.listsRows(positions.count, key) ? min(positions.count, key.poolRows) : 0
    let steps = rotations.steps(ofWord: 0)
    stepsAtOnce = listed * steps * HashRotations.stepBits <= Self.heldCount ? steps : 1
    scratch = HashScratch.take(
      for: HashScratch.Need(
        positions: positions.count, longestRange: longestRange, words: rotations.words, bits: rotations.bitCount,
        coefficients: kept == nil ? rotations.coefficientCount(key) : 0,
        products: max(listed * stepsAtOnce, min(positions.count, Self.runPositions) * steps) * HashRotations.stepBits,
        poolRows: listed > 0 ? key.poolRows : 0))
    if kept == nil {
      unsafe rotations.fillCoefficients(key, key.isAdditive ? tensors.key.basisRows() : [], scratch.coefficients)
    }
  }

  deinit { scratch.giveBack() }

  /// The codes from a position on.
  func keys(from position: Int) -> UnsafePointer<UInt64> {
    unsafe UnsafePointer(scratch.codes + (position - positions.lowerBound) * words)
  }

  // MARK: Queries

  /// Hashes a query of `d_k` numbers into the scratch's query.
  func encode(query: UnsafePointer<Float>) {
    unsafe rotations.values.withUnsafeBufferPointer { vectors in
      unsafe Kernels.active.f32.row_dots(
        vectors.baseAddress!, shape.width, nil, rotations.bitCount, query, shape.width, scratch.queryDots)
    }
    for word in 0..<words {
      var bits: UInt64 = 0
      for bit in 0..<rotations.bits(ofWord: word) {
        bits |= unsafe (scratch.queryDots[word * HashRotations.wordBits + bit] > 0 ? 1 : 0) << UInt64(bit)
      }
      unsafe scratch.query[word] = bits
    }
  }

  /// Whether rotations are scored with the pool rows in use, each once, or position by position.
  private static func listsRows(_ positions: Int, _ key: PartShape) -> Bool {
    positions >= key.poolRows / 4 && AttentionLayer.canUseTables(key)
  }

  // MARK: Keys

  /// Hashes the keys in `range`.
  func encode(_ keys: SideColumns, _ range: Range<Int>) {
    precondition(range.lowerBound >= positions.lowerBound && range.upperBound <= positions.upperBound)
    let target = unsafe scratch.codes + (range.lowerBound - positions.lowerBound) * words
    let listsRows = Self.listsRows(range.count, shape)
    if let table = kept?.table(insteadOf: listsRows ? min(range.count, shape.poolRows) : range.count) {
      unsafe look(up: table, keys, range, into: target)
    } else if listsRows {
      unsafe scoreListed(keys, range, into: target)
    } else {
      unsafe scoreInTurn(keys, range, into: target)
    }
  }

  private func look(
    up table: HashTable, _ keys: SideColumns, _ range: Range<Int>, into target: UnsafeMutablePointer<UInt64>
  ) {
    let indices = unsafe keys.indices + range.lowerBound
    if let codes = unsafe table.codes {
      return unsafe ckv_gather_codes_u64(codes, indices, words, range.count, target)
    }
    for word in 0..<words {
      unsafe sign(
        word, 0..<rotations.steps(ofWord: word), table.numbers(ofWord: word), stepStride: HashRotations.stepBits,
        rowStride: rotations.steps(ofWord: word) * HashRotations.stepBits, indices, keys, range, into: target)
    }
  }

  /// Scores every pool row in use once.
  private func scoreListed(_ keys: SideColumns, _ range: Range<Int>, into target: UnsafeMutablePointer<UInt64>) {
    let indices = unsafe keys.indices + range.lowerBound
    let used = unsafe Kernels.active.used_rows_u32(
      indices, range.count, shape.poolRows, scratch.marks, scratch.list)
    unsafe ckv_rank_u32(scratch.list, used, scratch.listPlaces, indices, range.count, scratch.ranks)
    for word in 0..<words {
      let all = rotations.steps(ofWord: word)
      for first in stride(from: 0, to: all, by: stepsAtOnce) {
        let steps = first..<min(first + stepsAtOnce, all)
        unsafe score(word, steps, keys, scratch.list, used)
        unsafe sign(
          word, steps, scratch.products, stepStride: used * HashRotations.stepBits,
          rowStride: HashRotations.stepBits, scratch.ranks, keys, range, into: target)
      }
    }
  }

  /// Scores the pool row of each position.
  private func scoreInTurn(_ keys: SideColumns, _ range: Range<Int>, into target: UnsafeMutablePointer<UInt64>) {
    for first in stride(from: range.lowerBound, to: range.upperBound, by: Self.runPositions) {
      let run = first..<min(first + Self.runPositions, range.upperBound)
      for word in 0..<words {
        let steps = 0..<rotations.steps(ofWord: word)
        unsafe score(word, steps, keys, keys.indices + first, run.count)
        unsafe sign(
          word, steps, scratch.products, stepStride: run.count * HashRotations.stepBits,
          rowStride: HashRotations.stepBits, nil, keys, run, into: target + (first - range.lowerBound) * words)
      }
    }
  }

  /// Dot products of pool rows with the rotations of some steps of a word, step after step.
  private func score(
    _ word: Int, _ steps: Range<Int>, _ keys: SideColumns, _ rows: UnsafePointer<UInt32>, _ count: Int
  ) {
    for step in steps {
      unsafe rotations.score(
        step: word * HashRotations.wordBits / HashRotations.stepBits + step, keys.pool, keys.element, shape, rows,
        count, into: scratch.products + (step - steps.lowerBound) * count * HashRotations.stepBits)
    }
  }

  /// Adds the user parts' products and puts down the bits of some steps of a word.
  private func sign(
    _ word: Int, _ steps: Range<Int>, _ table: UnsafePointer<Float>, stepStride: Int, rowStride: Int,
    _ rows: UnsafePointer<UInt32>?, _ keys: SideColumns, _ range: Range<Int>, into target: UnsafeMutablePointer<UInt64>
  ) {
    let dimensions = shape.userWidth
    let first = steps.lowerBound * HashRotations.stepBits
    let coefficients = unsafe kept?.coefficients.pointer ?? scratch.coefficients
    unsafe kernels.signs_f32(
      table, stepStride, rowStride, rows, keys.user + range.lowerBound, keys.count,
      coefficients + word * dimensions * HashRotations.wordBits + first, dimensions, first,
      min(steps.count * HashRotations.stepBits, rotations.bits(ofWord: word) - first), range.count, words,
      target + word)
  }
}
