/// One linear layer's weights as the encoder kernels read them: panels of 16 outputs, in f32, biases padded to whole
/// panels. Packed once when a model is opened; read-only afterwards, from any thread.

internal import CKernels
internal import CacheTypes

/// Weights `[outputs, width]` and biases, packed.
struct PackedWeights: Sendable {
  let outputs: Int
  private let width: Int
  private let panels: AlignedFloats
  private let bias: AlignedFloats

  /// Packs layers one below the other, so that their outputs come out of one call.
  ///
  /// - Parameter padding: the bias of the outputs that fill up the last panel: -infinity where the greatest output
  ///   counts.
  /// - Precondition: every weight is `[outputs, width]`, every bias `[outputs]`.
  init(_ layers: [(weight: Tensor, bias: Tensor)], width: Int, padding: Float) {
    var weights: [Float] = []
    var biases: [Float] = []
    for layer in layers {
      precondition(layer.weight.matrixWidth == width && layer.weight.matrixRows == layer.bias.count)
      weights += layer.weight.widened()
      biases += layer.bias.widened()
    }
    outputs = biases.count
    self.width = width
    let padded = (outputs + Int(CKV_PANEL) - 1) / Int(CKV_PANEL) * Int(CKV_PANEL)
    panels = AlignedFloats(repeating: 0, count: padded * width)
    bias = AlignedFloats(repeating: padding, count: padded)
    unsafe weights.withUnsafeBufferPointer { weights in
      guard let start = weights.baseAddress else { return }
      unsafe ckv_pack_panels_f32(start, outputs, width, panels.pointer)
    }
    for (place, value) in biases.enumerated() { unsafe bias.pointer[place] = value }
  }

  /// Each row's outputs, output by output: output o of row r goes to `columns[o * columnStride + r]`.
  func project(_ rows: EmbeddingRows, into columns: UnsafeMutablePointer<Float>, columnStride: Int) {
    unsafe precondition(rows.width == width)
    unsafe Kernels.active.project_f32(
      rows.start, rows.stride, rows.count, width, panels.pointer, bias.pointer, outputs, columns, columnStride)
  }

  /// Each row's greatest output; ties go to the lowest.
  func route(_ rows: EmbeddingRows, into indices: UnsafeMutablePointer<UInt32>) {
    unsafe precondition(rows.width == width)
    unsafe Kernels.active.route_f32(
      rows.start, rows.stride, rows.count, width, panels.pointer, bias.pointer, outputs, indices)
  }
}

/// `count` embeddings of `width` numbers, `stride` apart. Made by the encoder from spans it has checked.
@unsafe
struct EmbeddingRows {
  var start: UnsafePointer<Float>
  var stride: Int
  var count: Int
  var width: Int
}
