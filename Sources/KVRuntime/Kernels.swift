/// The bridge to the C kernels: which ones run, pool rows of any element type, and memory aligned as the panels need
/// it. Every pointer handed on here was checked against the count it goes with; no kernel checks one.

internal import CKernels
internal import CacheTypes

/// The kernels in use.
enum Kernels {
  static var active: ckv_kernels { unsafe ckv_kernels_active().pointee }
  /// The same where they stand: a copy of the table is some hundred bytes.
  static var table: UnsafePointer<ckv_kernels> { unsafe ckv_kernels_active() }
  /// Those over hash codes.
  static var activeHashes: ckv_hash_kernels { unsafe ckv_hash_kernels_active().pointee }
  /// Those for several queries at once.
  static var activeBlocks: ckv_block_kernels { unsafe ckv_block_kernels_active().pointee }
}

extension ckv_block_kernels {
  /// The kernels that read pools of this element type.
  func rows(of element: ElementType) -> ckv_block_row_kernels {
    switch element {
    case .f32: f32
    case .f16: f16
    case .bf16: bf16
    case .i8: preconditionFailure("pools are f32, f16 or bf16")
    }
  }
}

extension ckv_kernels {
  /// The kernels that read matrices of this element type.
  ///
  /// - Precondition: f32, f16 or bf16: what pools and weights are kept in.
  func rows(of element: ElementType) -> ckv_row_kernels {
    switch element {
    case .f32: f32
    case .f16: f16
    case .bf16: bf16
    case .i8: preconditionFailure("pools and weights are f32, f16 or bf16")
    }
  }
}

extension UnsafePointer<ckv_kernels> {
  /// As `rows(of:)`.
  func rows(of element: ElementType) -> UnsafePointer<ckv_row_kernels> {
    switch element {
    case .f32: unsafe pointer(to: \.f32)!
    case .f16: unsafe pointer(to: \.f16)!
    case .bf16: unsafe pointer(to: \.bf16)!
    case .i8: preconditionFailure("pools and weights are f32, f16 or bf16")
    }
  }
}

/// Floats on a 64-byte boundary, freed once. Written by its maker only.
@safe
final class AlignedFloats: @unchecked Sendable {
  private let storage: UnsafeMutableRawBufferPointer

  /// `count` copies of `value`.
  init(repeating value: Float, count: Int) {
    unsafe storage = .allocate(byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64)
    unsafe storage.initializeMemory(as: Float.self, repeating: value)
  }

  /// Room for `count` numbers, which are whatever they are until somebody writes them.
  init(roomFor count: Int) {
    unsafe storage = .allocate(byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64)
    unsafe storage.bindMemory(to: Float.self)
  }

  deinit { unsafe storage.deallocate() }

  var pointer: UnsafeMutablePointer<Float> {
    unsafe storage.baseAddress!.assumingMemoryBound(to: Float.self)
  }
}

extension Tensor {
  /// Rows of a matrix; a vector is one row.
  var matrixRows: Int { shape.count < 2 ? 1 : shape[0] }
  /// Numbers from one row of a matrix to the next.
  var matrixWidth: Int { shape.count < 2 ? count : shape[1...].reduce(1, *) }

  /// A copy, widened to f32 by the kernels in use.
  func widened() -> [Float] {
    unsafe [Float](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      guard count > 0 else { return }
      unsafe withUnsafeBytes { bytes in
        unsafe Kernels.active.rows(of: element).widen_rows(
          bytes.baseAddress!, matrixWidth, nil, matrixRows, matrixWidth, target.baseAddress!, matrixWidth)
      }
    }
  }

  /// The transpose of a matrix, widened: what `[d_g, d_u]` bases are read as, one row per user dimension.
  func transposed() -> [Float] {
    let (rows, columns) = (matrixRows, matrixWidth)
    let source = widened()
    var target = [Float](repeating: 0, count: count)
    for row in 0..<rows {
      for column in 0..<columns { target[column * rows + row] = source[row * columns + column] }
    }
    return target
  }
}

extension PartTensors {
  /// The transposed basis, one row per user dimension: made once per model.
  ///
  /// - Precondition: the side is additive.
  func basisRows() -> [Float] {
    guard let basis else { preconditionFailure("an additive side has a basis") }
    return transposedBasis.floats { basis.transposed() }
  }
}
