/// The number formats that pools and user parts are kept in.

/// How one number is stored.
public enum ElementType: UInt8, Sendable, Hashable, CaseIterable {
  /// IEEE 754 binary32.
  case f32 = 0
  /// IEEE 754 binary16.
  case f16 = 1
  /// The upper half of a binary32, rounded to nearest, ties to even.
  case bf16 = 2
  /// Eight-bit signed steps with an f16 scale and offset per dimension and row. User parts only.
  case i8 = 3

  /// Bytes of one number.
  public var byteCount: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .i8: 1
    }
  }

  /// `f32`, `f16`, `bf16` or `i8`.
  public var name: String {
    switch self {
    case .f32: "f32"
    case .f16: "f16"
    case .bf16: "bf16"
    case .i8: "i8"
    }
  }

  /// Reads what `name` writes.
  public init?(name: String) {
    guard let match = ElementType.allCases.first(where: { $0.name == name }) else { return nil }
    self = match
  }

  /// What newly appended entries of this element type are rounded to: i8 rows are quantised later,
  /// a block at a time, and until then hold f16.
  package var arrival: ElementType { self == .i8 ? .f16 : self }
}

/// Conversions between binary32 and the 16-bit formats, in integer arithmetic: the same bits on every machine.
package enum HalfPrecision {
  /// Rounds to nearest, ties to even; overflow gives infinity; NaN stays NaN.
  package static func f16Bits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    let sign = UInt16(truncatingIfNeeded: bits >> 16) & 0x8000
    let magnitude = bits & 0x7FFF_FFFF
    if magnitude > 0x7F80_0000 { return sign | 0x7E00 }
    if magnitude >= 0x4780_0000 { return sign | 0x7C00 }
    if magnitude < 0x3880_0000 {
      // Below the smallest normal f16: adding 0.5 aligns the subnormal's last bit with the sum's last bit, so that
      // the addition itself rounds to nearest even.
      let aligned = Float(bitPattern: magnitude) + Float(bitPattern: 0x3F00_0000)
      return sign | UInt16(truncatingIfNeeded: aligned.bitPattern &- 0x3F00_0000)
    }
    let rounded = magnitude &+ 0x0FFF &+ ((magnitude >> 13) & 1)
    return sign | UInt16(truncatingIfNeeded: (rounded &- 0x3800_0000) >> 13)
  }

  package static func float(f16Bits bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let magnitude = UInt32(bits & 0x7FFF)
    if magnitude >= 0x7C00 {
      return Float(bitPattern: sign | 0x7F80_0000 | (magnitude & 0x03FF) << 13)
    }
    if magnitude < 0x0400 {
      let value = Float(magnitude) * 0x1p-24
      return Float(bitPattern: sign | value.bitPattern)
    }
    return Float(bitPattern: sign | ((magnitude << 13) &+ 0x3800_0000))
  }

  package static func bf16Bits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    if bits & 0x7FFF_FFFF > 0x7F80_0000 { return UInt16(truncatingIfNeeded: bits >> 16) | 0x0040 }
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
  }

  package static func float(bf16Bits bits: UInt16) -> Float {
    Float(bitPattern: UInt32(bits) << 16)
  }
}

extension ElementType {
  /// The smallest magnitude that rounds to infinity.
  package var overflow: Float {
    switch self {
    case .f32: .infinity
    case .f16, .i8: 65_520
    case .bf16: Float(bitPattern: 0x7F7F_8000)
    }
  }

  /// The value that comes back when `value` is stored in this type. i8 rounds as its arrival type does.
  package func rounded(_ value: Float) -> Float {
    switch self {
    case .f32: value
    case .f16, .i8: HalfPrecision.float(f16Bits: HalfPrecision.f16Bits(value))
    case .bf16: HalfPrecision.float(bf16Bits: HalfPrecision.bf16Bits(value))
    }
  }
}
