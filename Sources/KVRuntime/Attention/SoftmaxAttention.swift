/// Multi-head softmax attention: per head it scores the positions, takes exponentials less the greatest score, and adds
/// up the values, each step by a kernel. Functions that select positions end in it, over what they kept.

internal import CacheTypes

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
