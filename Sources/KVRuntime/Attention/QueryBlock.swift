/// Queries that go side by side: which they are, which positions each of them sees, and what is done with their scores.
/// `BlockPass` computes on what stands here; nothing here computes.

internal import CKernels

/// How many queries go side by side.
enum QueryBlocks {
  /// CKV_BLOCK.
  static let size = Int(CKV_BLOCK)
  /// The fewest queries that get a block of tables, which are made without knowing any history.
  static let least = 5
}

/// What becomes of scores, for functions that a block knows.
enum BlockWeights {
  case softmax
  case silu(factor: Float, bias: [Float]?)

  /// Whether one query goes head by head, or its heads in groups.
  var isByHead: Bool {
    switch self {
    case .softmax: false
    case .silu: true
    }
  }
}

/// Queries that see nearly the same positions.
@unsafe
struct QueryBlock {
  /// `count x d_k` numbers.
  let numbers: UnsafePointer<Float>
  /// 1 to `QueryBlocks.size`.
  let count: Int
  let scale: Float
  /// Positions of the columns; what every query sees of them says `view`. Not empty.
  let range: Range<Int>
  let view: View
  /// Tables as `CandidateTables` has them for a block; `nil` if they have to be made.
  let table: UnsafePointer<Float>?

  enum View {
    /// Query q sees the first `counts[q]` positions of the range, at least one; some query sees all.
    case first(counts: [Int])
    /// Query q sees position `first + q` of the columns in place of the range's last.
    case own(first: Int)
  }
}

/// What came of a block, a bit per query.
struct BlockOutcome {
  /// A score is beyond what 32-bit floats hold.
  var failed: UInt32 = 0
  /// The query has to be done alone: see `BlockPass`.
  var alone: UInt32 = 0
}
