/// Looks for infinities and NaNs at the speed of memory. It looks at exponents only, a run of numbers at a time, so
/// that the compiler can use vectors.

internal import CacheTypes

enum FiniteScan {
  /// Numbers that are looked at before the result is.
  private static let runCount = 8192

  /// The index of the first number that is not finite.
  static func firstOffender(_ tensor: Tensor) -> Int? {
    unsafe tensor.withUnsafeBytes { bytes in
      switch tensor.element {
      case .f32: unsafe firstOffender(bytes, exponent: UInt32(0x7F80_0000))
      case .f16: unsafe firstOffender(bytes, exponent: UInt16(0x7C00))
      case .bf16: unsafe firstOffender(bytes, exponent: UInt16(0x7F80))
      case .i8: nil
      }
    }
  }

  /// A number is an infinity or a NaN exactly if every bit of its exponent is set.
  @inline(__always)
  private static func firstOffender<Bits: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>(
    _ bytes: UnsafeRawBufferPointer, exponent: Bits
  ) -> Int? {
    let size = MemoryLayout<Bits>.size
    let count = bytes.count / size
    var start = 0
    while start < count {
      let end = min(start + runCount, count)
      var largest: Bits = 0
      for index in start..<end {
        let bits = unsafe Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: index * size, as: Bits.self))
        largest = max(largest, bits & exponent)
      }
      if largest == exponent {
        return (start..<end).first { index in
          unsafe Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: index * size, as: Bits.self)) & exponent
            == exponent
        }
      }
      start = end
    }
    return nil
  }
}
