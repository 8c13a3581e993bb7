/// Multi-head softmax attention over one user's entries. It builds no full key and no full value: per query and head it
/// scores the positions, takes exponentials less the greatest score, and adds up the values, each step by a kernel. It
/// relies on entries that were validated against the shape, and keeps nothing between calls.

package import CacheTypes

package enum SoftmaxAttention {
  /// Attention output of every query.
  ///
  /// A query sees the positions `[lo, hi)`: `hi` is its position, or `count` without one; `lo = max(0, hi - window)`.
  /// An empty range gives zeros. A query's output is the same bits whatever other queries come with it.
  ///
  /// - Precondition: `entries` has `count` positions and fits `shape`; `tensors` fit it too.
  /// - Returns: `queries.count x d_v`, row-major.
  /// - Throws: `StoreError.invalidInput` naming the row: see `AttentionQueries.check`; a key-only layer; scores beyond
  ///   what 32-bit floats hold.
  /// - Complexity: O(n (d_u + heads) + min(n, m) d_g) per query; memory grows with n once per call.
  package static func attend(
    _ queries: AttentionQueries, _ entries: LayerEntries, count: Int, shape: LayerShape, tensors: LayerTensors
  ) throws(StoreError) -> [Float] {
    try AttentionFunction.softmax.attend(queries, entries, count: count, shape: shape, tensors: tensors)
  }

  /// Attention output of a stage's new positions: one query for each position from `storedCount` on.
  ///
  /// Causal queries see what they would see had the positions up to their own been stored; a query of
  /// `.historyAndSelf` sees what it would see had its own position alone been stored. The outputs are the same bits
  /// as then.
  ///
  /// - Precondition: `entries` has `count` positions, the stored ones first, and fits `shape`.
  /// - Returns: `(count - storedCount) x d_v`, row-major.
  /// - Throws: as without a mask; also if there is not one query per new position, or queries bring positions.
  package static func attend(
    _ queries: AttentionQueries, mask: StageMask, storedCount: Int, _ entries: LayerEntries, count: Int,
    shape: LayerShape, tensors: LayerTensors
  ) throws(StoreError) -> [Float] {
    try AttentionFunction.softmax.attend(
      queries, mask: mask, storedCount: storedCount, entries, count: count, shape: shape, tensors: tensors)
  }
}

final class SoftmaxFormula: AttentionFormula {
  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    for head in 0..<layer.shape.heads {
      let greatest = unsafe layer.score(query.numbers, head: head, columns.keys, range, scale: query.scale)
      let sum = layer.exponentiate(range.count, greatest: greatest)
      guard sum.isFinite else { throw unsafe scoreBeyondFloats(row: query.row) }
      unsafe layer.weigh(head: head, columns.values, range, scale: Float(1 / sum), into: output)
    }
  }
}
