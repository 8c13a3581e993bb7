/// Eight-bit user parts: per dimension and row an f16 scale and an f16 offset, then one signed step per position. A
/// number comes back within half a step, `scale / 2`, and a step is at most 1/254 of the row's span, rounded up to the
/// next f16, plus what rounding the offset to f16 costs.

package import CacheTypes

/// Affine quantisation of one dimension of one row.
package enum Quantiser {
  /// Bytes before the steps: scale, then offset.
  package static let headerByteCount = 4

  /// The largest finite f16.
  private static let largest: Float = 65_504

  /// Bytes of one dimension of `count` positions.
  package static func columnByteCount(_ element: ElementType, count: Int) -> Int {
    (element == .i8 ? headerByteCount : 0) + count * element.byteCount
  }

  /// - Precondition: every number is a finite f16; `place` is zeroed.
  package static func pack(
    _ column: [Float], _ base: Int, _ rows: Range<Int>, into place: UnsafeMutableRawBufferPointer
  ) {
    var low = Float.infinity
    var high = -Float.infinity
    for row in rows {
      low = min(low, column[base + row])
      high = max(high, column[base + row])
    }
    if rows.isEmpty { (low, high) = (0, 0) }
    let offsetBits = HalfPrecision.f16Bits(low / 2 + high / 2)
    let offset = HalfPrecision.float(f16Bits: offsetBits)
    let step = max(high - offset, offset - low) / 127
    var scaleBits = HalfPrecision.f16Bits(step)
    if HalfPrecision.float(f16Bits: scaleBits) < step { scaleBits += 1 }
    let scale = HalfPrecision.float(f16Bits: scaleBits)
    unsafe place.storeBytes(of: scaleBits.littleEndian, as: UInt16.self)
    unsafe place.storeBytes(of: offsetBits.littleEndian, toByteOffset: 2, as: UInt16.self)
    var index = headerByteCount
    for row in rows {
      let steps = scale == 0 ? 0 : ((column[base + row] - offset) / scale).rounded()
      unsafe place.storeBytes(of: Int8(max(-127, min(127, steps))), toByteOffset: index, as: Int8.self)
      index += 1
    }
  }

  package static func unpack(
    _ source: UnsafeRawBufferPointer, _ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    let scale = HalfPrecision.float(f16Bits: UInt16(littleEndian: unsafe source.loadUnaligned(as: UInt16.self)))
    let offset = HalfPrecision.float(
      f16Bits: UInt16(littleEndian: unsafe source.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    for index in range {
      let steps = unsafe source.load(fromByteOffset: headerByteCount + index, as: Int8.self)
      // The scale is rounded up: without the bounds, the largest f16 would come back as more than f16 can hold.
      unsafe target[index - range.lowerBound] = max(-largest, min(largest, offset + scale * Float(steps)))
    }
  }
}
