/// Reconstruction straight into memory of the caller's, row by row, in the format that is wanted there: pool rows are
/// copied or converted as they are read, user parts rounded to it. It checks indices and nothing else: that the memory
/// holds its rows is the caller's affair.

internal import CKernels
package import CacheTypes

/// Rows of numbers in somebody's memory, valid for the call that they are handed to.
@unsafe
package struct RowMemory {
  package let start: UnsafeMutableRawPointer
  /// Bytes from one row to the next.
  package let rowByteCount: Int
  /// f32, f16 or bf16.
  package let element: ElementType

  package init(_ start: UnsafeMutableRawPointer, rowByteCount: Int, element: ElementType) {
    unsafe self.start = start
    unsafe self.rowByteCount = rowByteCount
    unsafe self.element = element
  }

  fileprivate var format: ckv_format {
    switch unsafe element {
    case .f32: CKV_F32
    case .f16: CKV_F16
    case .bf16: CKV_BF16
    case .i8: preconditionFailure("keys and values are f32, f16 or bf16")
    }
  }

  /// Writes rows of `width` numbers, rounded to nearest, ties to even.
  ///
  /// - Precondition: the memory holds the rows; `numbers` is `rows.count x width`.
  package func write(_ numbers: [Float], width: Int, at rows: Range<Int>) {
    precondition(numbers.count == rows.count * width && rows.lowerBound >= 0, "a row for every row of numbers")
    guard !numbers.isEmpty else { return }
    unsafe numbers.withUnsafeBufferPointer { numbers in
      unsafe Kernels.active.f32.copy_rows(
        numbers.baseAddress!, width, nil, rows.count, width, start + rows.lowerBound * rowByteCount, rowByteCount,
        format)
    }
  }
}

extension Reconstruction {
  /// Writes K and V of the positions in `range`; either may be left out. Numbers are rounded once, from what
  /// `reconstruct` returns, to nearest, ties to even.
  ///
  /// - Precondition: `entries` has `count` positions and fits `shape`; `tensors` fit it too; the layer has values if
  ///   they are wanted.
  /// - Complexity: O(n (d_k + d_v)), times d_u in the additive form; no allocation that grows with n.
  package static func write(
    _ entries: LayerEntries, count: Int, range: Range<Int>, shape: LayerShape, tensors: LayerTensors, keys: RowMemory?,
    values: RowMemory?
  ) {
    entries.requireFit(shape, count: count)
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "the range lies in the history")
    if let keys = unsafe keys {
      unsafe write(
        entries.keyIndices, entries.keyUser, count: count, range: range, shape: shape.key, tensors: tensors.key,
        to: keys)
    }
    if let values = unsafe values {
      unsafe write(
        shape.sharesRouter ? entries.keyIndices : entries.valueIndices, entries.valueUser, count: count, range: range,
        shape: shape.value!, tensors: tensors.value!, to: values)
    }
  }

  private static func write(
    _ indices: [UInt32], _ user: [Float], count: Int, range: Range<Int>, shape: PartShape, tensors: PartTensors,
    to target: RowMemory
  ) {
    guard !range.isEmpty, shape.width > 0 else { return }
    if shape.isAdditive {
      return unsafe writeSums(indices, user, count: count, range: range, shape: shape, tensors: tensors, to: target)
    }
    if shape.poolWidth > 0 {
      let kernels = Kernels.active.rows(of: tensors.pool.element)
      unsafe tensors.pool.withUnsafeBytes { pool in
        unsafe indices.withUnsafeBufferPointer { indices in
          unsafe kernels.copy_rows(
            pool.baseAddress!, shape.poolWidth, indices.baseAddress! + range.lowerBound, range.count, shape.poolWidth,
            target.start + shape.userWidth * target.element.byteCount, target.rowByteCount, target.format)
        }
      }
    }
    if shape.userWidth > 0 {
      unsafe user.withUnsafeBufferPointer { user in
        unsafe ckv_copy_columns_f32(
          user.baseAddress! + range.lowerBound, count, shape.userWidth, range.count, target.start, target.rowByteCount,
          target.format)
      }
    }
  }

  /// The additive form, a few positions at a time: summed up in 32 bits, then rounded.
  private static func writeSums(
    _ indices: [UInt32], _ user: [Float], count: Int, range: Range<Int>, shape: PartShape, tensors: PartTensors,
    to target: RowMemory
  ) {
    let kernels = Kernels.active
    let basis = tensors.basisRows()
    let run = 64
    for first in stride(from: range.lowerBound, to: range.upperBound, by: run) {
      let part = first..<min(first + run, range.upperBound)
      let rows = self.part(indices, user, count: count, range: part, shape: shape, tensors: tensors, basis: basis)
      unsafe kernels.f32.copy_rows(
        rows, shape.width, nil, part.count, shape.width,
        target.start + (first - range.lowerBound) * target.rowByteCount, target.rowByteCount, target.format)
    }
  }
}
