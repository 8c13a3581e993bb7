/// Reads rows of f32, f16 or bf16 numbers out of somebody's memory. That the memory holds them is the caller's affair.

internal import CKernels
package import CacheTypes

/// Rows in memory, valid for the call that they are handed to.
@unsafe
package struct WideningRows {
  private let start: UnsafeRawPointer
  /// Bytes from one row to the next; no multiple of an element's is asked for.
  private let rowByteCount: Int
  /// f32, f16 or bf16.
  private let element: ElementType

  package init(_ start: UnsafeRawPointer, rowByteCount: Int, element: ElementType) {
    unsafe self.start = start
    unsafe self.rowByteCount = rowByteCount
    unsafe self.element = element
  }

  /// The first `count` rows of `width` numbers, exactly.
  package func floats(_ count: Int, width: Int) -> [Float] {
    let kernels = unsafe Kernels.active.rows(of: element)
    return unsafe [Float](unsafeUninitializedCapacity: count * width) { target, filled in
      filled = count * width
      guard filled > 0 else { return }
      for row in 0..<count {
        unsafe kernels.widen_rows(
          start + row * rowByteCount, width, nil, 1, width, target.baseAddress! + row * width, width)
      }
    }
  }
}
