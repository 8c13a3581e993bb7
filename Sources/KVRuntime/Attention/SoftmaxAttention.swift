/// Multi-head softmax attention as a formula; its steps stand in `AttentionLayer+Softmax.swift`. Functions that select
/// positions end in it, over what they kept.

internal import CacheTypes

final class SoftmaxFormula: AttentionFormula {
  var blockWeights: BlockWeights? { .softmax }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    let isFinite = unsafe layer.softmax(
      query.numbers, columns.keys, columns.values, range, scale: query.scale, into: output)
    guard isFinite else { throw unsafe scoreBeyondFloats(row: query.row) }
  }
}
