/// What one attention function does with one query, and the columns that it does it with. `AttentionCall` knows which
/// positions a query sees and where its output goes; a formula knows neither, and keeps nothing of one query for the
/// next.

internal import CacheTypes

/// One user's columns, valid while the closure that made them runs.
@unsafe
struct AttendedColumns {
  var keys: SideColumns
  var values: SideColumns
  /// The keys that `select` searches: the same positions of another layer, or of this one.
  var search: SideColumns?
}

/// A query and its number.
@unsafe
struct AttendingQuery {
  let row: Int
  /// d_k numbers.
  let numbers: UnsafePointer<Float>
  let scale: Float
}

/// One attention function. Not for two threads at once.
protocol AttentionFormula: AnyObject {
  /// What a block of queries has to know; `nil` where queries go one by one.
  var blockWeights: BlockWeights? { get }

  /// Takes note of the positions in `range`, before the first query that sees one of them; again where a position was
  /// replaced by another.
  func prepare(_ columns: AttendedColumns, _ range: Range<Int>)

  /// Writes the output of one query over `range`, which is not empty, into `d_v` zeros.
  ///
  /// - Throws: `StoreError.invalidInput` naming the query's row, if a number comes out beyond what 32-bit floats hold.
  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError)
}

extension AttentionFormula {
  var blockWeights: BlockWeights? { nil }

  func prepare(_ columns: AttendedColumns, _ range: Range<Int>) {}
}

extension AttentionFunction {
  /// - Precondition: `check` found nothing; `positions` holds every position that a query of the call sees.
  func formula(
    _ shape: LayerShape, _ tensors: LayerTensors, positions: Range<Int>, longestRange: Int
  ) throws(StoreError) -> any AttentionFormula {
    switch self {
    case .softmax: SoftmaxFormula()
    case .topk(let top): TopFormula(top: top, shape, longestRange: longestRange)
    case .select(let top, let search):
      try SelectFormula(top: top, search, shape, longestRange: longestRange)
    case .simhash(let top, let rotations):
      SimhashFormula(
        top: top, HashCodes(rotations, shape, tensors, positions: positions, longestRange: longestRange), shape,
        longestRange: longestRange)
    case .sdim(let rotations, let isNormalised):
      try SDIMFormula(
        HashCodes(rotations, shape, tensors, positions: positions, longestRange: longestRange),
        isNormalised: isNormalised, shape, tensors, longestRange: longestRange)
    case .silu(let divisor, let bias): SiluFormula(divisor: divisor, bias: bias)
    }
  }
}

/// What a formula says where a number left the range of 32-bit floats.
func scoreBeyondFloats(row: Int) -> StoreError {
  .invalidInput("query at row \(row): a score is beyond what 32-bit floats hold")
}
