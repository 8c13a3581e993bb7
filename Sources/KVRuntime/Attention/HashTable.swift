/// What of hash bits depends on the model alone: P_k R_c^T, a number per pool row and rotation, or where users have no
/// part of their own the codes of pool rows. Kept with the rotations that come with a model, within a budget of bytes;
/// made when the calls without it have cost as much. Codes are the same bits with a table and without.

internal import CKernels
internal import CacheTypes
internal import Synchronization

/// Bytes that the tables of a store's rotations take together. Any thread may use it.
package final class HashTableBudget: Sendable {
  private let left: Mutex<Int>

  package init(byteLimit: Int) { left = Mutex(byteLimit) }

  /// Takes so many bytes for good, if there are as many.
  func take(_ byteCount: Int) -> Bool {
    left.withLock { left in
      guard byteCount <= left else { return false }
      left -= byteCount
      return true
    }
  }
}

/// What is kept of a model's rotations. Any thread may use it.
final class KeptHashes: Sendable {
  /// As `HashRotations.fillCoefficients` lays them.
  let coefficients: AlignedFloats
  private let rotations: HashRotations
  private let shape: PartShape
  private let pool: Tensor
  private let budget: HashTableBudget
  private let state = Mutex(State.scored(rows: 0))

  private enum State {
    /// So many pool rows were scored by calls without a table.
    case scored(rows: Int)
    /// Somebody is making it, or the budget does not hold it.
    case none
    case made(HashTable)
  }

  init(_ rotations: HashRotations, _ shape: PartShape, _ tensors: PartTensors, _ budget: HashTableBudget) {
    self.rotations = rotations
    self.shape = shape
    pool = tensors.pool
    self.budget = budget
    coefficients = AlignedFloats(roomFor: rotations.coefficientCount(shape))
    unsafe rotations.fillCoefficients(shape, shape.isAdditive ? tensors.basisRows() : [], coefficients.pointer)
  }

  var hasTable: Bool {
    state.withLock { state in
      if case .made = state { return true }
      return false
    }
  }

  /// Whether this was made for a layer's keys.
  func fits(_ shape: PartShape, _ pool: Tensor) -> Bool {
    self.shape == shape && self.pool.memory === pool.memory && self.pool.byteOffset == pool.byteOffset
  }

  /// The table, unless this call is among the first: one that would have to score `rows` pool rows itself.
  func table(insteadOf rows: Int) -> HashTable? {
    enum Turn {
      case take(HashTable)
      case make
      case wait
    }
    let turn: Turn = state.withLock { state in
      switch state {
      case .made(let table): return .take(table)
      case .none: return .wait
      case .scored(let before) where before < shape.poolRows:
        state = .scored(rows: before + rows)
        return .wait
      case .scored:
        state = .none
        return .make
      }
    }
    switch turn {
    case .take(let table): return table
    case .wait: return nil
    case .make:
      guard budget.take(HashTable.byteCount(rotations, shape)) else { return nil }
      let table = HashTable(rotations, shape, pool)
      state.withLock { $0 = .made(table) }
      return table
    }
  }
}

/// Immutable once made.
@safe
final class HashTable: @unchecked Sendable {
  /// Word after word of a code: for each pool row the dot products of the word's rotations, in whole steps. Empty where
  /// there are codes.
  private let numbers: AlignedFloats
  /// A code per pool row, where users have no part of their own.
  let codes: UnsafeMutablePointer<UInt64>?
  private let rows: Int

  static func byteCount(_ rotations: HashRotations, _ shape: PartShape) -> Int {
    let perRow =
      shape.userWidth == 0
      ? rotations.words * 8
      : (rotations.bitCount + HashRotations.stepBits - 1) / HashRotations.stepBits * HashRotations.stepBits * 4
    let (count, overflow) = perRow.multipliedReportingOverflow(by: shape.poolRows)
    return overflow ? .max : count
  }

  /// The dot products of a word's rotations: rows of `steps(ofWord:)` steps.
  func numbers(ofWord word: Int) -> UnsafePointer<Float> {
    unsafe UnsafePointer(numbers.pointer + word * rows * HashRotations.wordBits)
  }

  /// Pool rows that are scored between two moves.
  private static let runRows = 512

  /// - Complexity: O(m b d_g).
  init(_ rotations: HashRotations, _ shape: PartShape, _ pool: Tensor) {
    precondition(pool.count == shape.poolRows * shape.poolWidth)
    rows = shape.poolRows
    let hasCodes = shape.userWidth == 0
    numbers = AlignedFloats(roomFor: hasCodes ? 0 : Self.byteCount(rotations, shape) / 4)
    unsafe codes = hasCodes ? .allocate(capacity: max(shape.poolRows * rotations.words, 1)) : nil
    let run = AlignedFloats(roomFor: Self.runRows * HashRotations.stepBits)
    unsafe pool.withUnsafeBytes { bytes in
      let start = unsafe bytes.baseAddress ?? UnsafeRawPointer(run.pointer)
      for first in stride(from: 0, to: shape.poolRows, by: Self.runRows) {
        let count = min(Self.runRows, shape.poolRows - first)
        let rowStart = unsafe start + first * shape.poolWidth * pool.element.byteCount
        for word in 0..<rotations.words {
          for step in 0..<rotations.steps(ofWord: word) {
            let number = word * HashRotations.wordBits / HashRotations.stepBits + step
            unsafe rotations.score(step: number, rowStart, pool.element, shape, nil, count, into: run.pointer)
            unsafe keep(run.pointer, word, step, first..<first + count, rotations)
          }
        }
      }
    }
  }

  deinit { unsafe codes?.deallocate() }

  /// Takes over the dot products of some rows with the rotations of one step of a word.
  private func keep(
    _ run: UnsafePointer<Float>, _ word: Int, _ step: Int, _ range: Range<Int>, _ rotations: HashRotations
  ) {
    let stepBits = HashRotations.stepBits
    if let codes = unsafe codes {
      unsafe Kernels.activeHashes.signs_f32(
        run, 0, stepBits, nil, nil, 0, nil, 0, step * stepBits,
        min(stepBits, rotations.bits(ofWord: word) - step * stepBits), range.count, rotations.words,
        codes + range.lowerBound * rotations.words + word)
    } else {
      let stride = rotations.steps(ofWord: word) * stepBits
      let target = unsafe numbers.pointer + word * rows * HashRotations.wordBits + step * stepBits
      for row in range {
        unsafe (target + row * stride).update(from: run + (row - range.lowerBound) * stepBits, count: stepBits)
      }
    }
  }
}
