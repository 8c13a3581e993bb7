/// Per head, softmax over the positions with the greatest dot products of that head (TWIN). Every position is scored;
/// values are read of those that were kept.

internal import CKernels
internal import CacheTypes

final class TopFormula: AttentionFormula {
  private let top: Int
  private let selection: Selection
  private let softmax = SoftmaxFormula()

  init(top: Int, _ shape: LayerShape, longestRange: Int) {
    self.top = top
    selection = Selection(shape, capacity: min(top, longestRange))
  }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    guard top < range.count else { return try unsafe softmax.attend(query, columns, range, layer, into: output) }
    for head in 0..<layer.shape.heads {
      let dots = try unsafe layer.dots(query.numbers, head: head, columns.keys, range, row: query.row)
      let places = unsafe selection.keep(top: top, of: dots, count: range.count)
      // Places ascend, so what is read lies at or behind what is written.
      let greatest = unsafe ckv_gather_scores_f32(dots, places, top, query.scale, layer.scratch.scores)
      let sum = layer.exponentiate(top, greatest: greatest)
      guard sum.isFinite else { throw unsafe scoreBeyondFloats(row: query.row) }
      let values = unsafe selection.gatherValues(columns.values, range, places, count: top)
      unsafe layer.weigh(head: head, values, 0..<top, scale: Float(1 / sum), into: output)
    }
  }
}

extension AttentionLayer {
  /// Unscaled dot products of one head's query with the keys in `range`, in the scratch's scores: what selections
  /// compare.
  ///
  /// - Throws: `StoreError.invalidInput` if one of them is beyond what 32-bit floats hold.
  func dots(
    _ query: UnsafePointer<Float>, head: Int, _ keys: SideColumns, _ range: Range<Int>, row: Int
  ) throws(StoreError) -> UnsafePointer<Float> {
    _ = unsafe score(query, head: head, keys, range, scale: 1)
    guard unsafe Kernels.active.first_nonfinite_f32(scratch.scores, range.count) == range.count else {
      throw scoreBeyondFloats(row: row)
    }
    return unsafe UnsafePointer(scratch.scores)
  }
}
