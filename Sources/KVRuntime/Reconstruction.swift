/// Reconstruction: full keys and values of a range of positions, in 32-bit floats. The concatenated form copies; the
/// additive form adds the user part's products to the pool row one dimension after the other, fused, so that a
/// position's numbers depend on the position alone. It relies on entries that were validated against the shape.

package import CacheTypes

package enum Reconstruction {
  /// K and V of the positions in `range`.
  ///
  /// - Precondition: `entries` has `count` positions and fits `shape`; `tensors` fit it too.
  /// - Returns: keys `range.count x d_k` and values `range.count x d_v`, row-major; no values for a key-only layer.
  /// - Complexity: O(n (d_k + d_v)), times d_u in the additive form.
  package static func reconstruct(
    _ entries: LayerEntries, count: Int, range: Range<Int>, shape: LayerShape, tensors: LayerTensors
  ) -> (keys: [Float], values: [Float]) {
    entries.requireFit(shape, count: count)
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "the range lies in the history")
    let keys = part(
      entries.keyIndices, entries.keyUser, count: count, range: range, shape: shape.key, tensors: tensors.key,
      basis: shape.key.isAdditive ? tensors.key.basisRows() : [])
    guard let value = shape.value, let valueTensors = tensors.value else { return (keys, []) }
    let values = part(
      shape.sharesRouter ? entries.keyIndices : entries.valueIndices, entries.valueUser, count: count, range: range,
      shape: value, tensors: valueTensors, basis: value.isAdditive ? valueTensors.basisRows() : [])
    return (keys, values)
  }

  /// One side; `basis` is its transposed basis in the additive form.
  static func part(
    _ indices: [UInt32], _ user: [Float], count: Int, range: Range<Int>, shape: PartShape, tensors: PartTensors,
    basis: [Float]
  ) -> [Float] {
    let width = shape.width
    guard !range.isEmpty, width > 0 else { return [] }
    let kernels = Kernels.active
    return unsafe [Float](unsafeUninitializedCapacity: range.count * width) { rows, filled in
      let start = rows.baseAddress!
      let poolColumn = shape.isAdditive ? 0 : shape.userWidth
      if shape.poolWidth > 0 {
        unsafe tensors.pool.withUnsafeBytes { pool in
          unsafe indices.withUnsafeBufferPointer { indices in
            unsafe kernels.rows(of: tensors.pool.element).widen_rows(
              pool.baseAddress!, shape.poolWidth, indices.baseAddress! + range.lowerBound, range.count,
              shape.poolWidth, start + poolColumn, width)
          }
        }
      }
      if shape.userWidth > 0 {
        unsafe user.withUnsafeBufferPointer { user in
          let first = unsafe user.baseAddress! + range.lowerBound
          for row in 0..<range.count {
            let target = unsafe start + row * width
            if shape.isAdditive {
              unsafe kernels.add_rows_f32(basis, width, first + row, count, shape.userWidth, width, target)
            } else {
              for dimension in 0..<shape.userWidth { unsafe target[dimension] = first[dimension * count + row] }
            }
          }
        }
      }
      filled = range.count * width
    }
  }
}

extension LayerEntries {
  /// Stops the process if the columns' lengths or an index do not fit. Whoever made the entries has checked them
  /// (decoded rows by the codec, a caller's by `Entries.validate`); after this the kernels may trust them.
  func requireFit(_ shape: LayerShape, count: Int) {
    precondition(count >= 0 && keyIndices.count == count, "one key index per position")
    precondition(valueIndices.count == (shape.storesValueIndices ? count : 0), "one value index per position")
    precondition(keyUser.count == shape.key.userWidth * count, "d_u numbers per position")
    precondition(valueUser.count == (shape.value?.userWidth ?? 0) * count, "d_u' numbers per position")
    Self.requireIndices(keyIndices, below: shape.key.poolRows)
    if let value = shape.value {
      Self.requireIndices(valueIndices, below: value.poolRows)
      precondition(
        value.hasRouter || value.poolRows >= shape.key.poolRows, "a shared router needs pools of equal length")
    }
  }

  private static func requireIndices(_ indices: [UInt32], below limit: Int) {
    unsafe indices.withUnsafeBufferPointer { indices in
      guard let start = indices.baseAddress, indices.count > 0 else { return }
      let greatest = unsafe Kernels.active.max_u32(start, indices.count)
      precondition(Int(greatest) < limit, "indices are rows of the pool")
    }
  }
}
