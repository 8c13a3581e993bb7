/// Values weighted by SiLU of the scaled dot products, without a softmax (HSTU), with a bias per distance from the
/// latest position or without.

internal import CKernels
internal import CacheTypes

final class SiluFormula: AttentionFormula {
  private let factor: Float
  private let bias: [Float]?

  init(divisor: Float, bias: [Float]?) {
    factor = Float(1 / Double(divisor))
    self.bias = bias
  }

  var blockWeights: BlockWeights? { .silu(factor: factor, bias: bias) }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    for head in 0..<layer.shape.heads {
      _ = unsafe layer.score(query.numbers, head: head, columns.keys, range, scale: query.scale)
      unsafe weights(layer.scratch.scores, range.count)
      unsafe layer.weigh(head: head, columns.values, range, scale: factor, into: output)
    }
    let width = layer.shape.value!.width
    guard unsafe Kernels.active.first_nonfinite_f32(output, width) == width else {
      throw unsafe scoreBeyondFloats(row: query.row)
    }
  }

  private func weights(_ scores: UnsafeMutablePointer<Float>, _ count: Int) {
    guard let bias else { return unsafe ckv_silu_f32(scores, nil, count) }
    unsafe bias.withUnsafeBufferPointer { bias in unsafe ckv_silu_f32(scores, bias.baseAddress!, count) }
  }
}
