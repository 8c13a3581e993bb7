import CacheTypes
import Testing

/// Against values and roundings that are worked out in Double, which holds all of them exactly.
struct HalfPrecisionTests {
  /// What 16 bits of a format with so many exponent and fraction bits stand for.
  static func value(_ bits: UInt16, exponentBits: Int, fractionBits: Int) -> Double {
    let sign: Double = bits >> 15 == 0 ? 1 : -1
    let fraction = Double(Int(bits) & ((1 << fractionBits) - 1))
    let exponent = Int(bits & 0x7FFF) >> fractionBits
    let bias = (1 << (exponentBits - 1)) - 1
    if exponent == (1 << exponentBits) - 1 { return fraction == 0 ? sign * .infinity : .nan }
    let unit = Double(sign: .plus, exponent: max(exponent, 1) - bias - fractionBits, significand: 1)
    return sign * (fraction + (exponent == 0 ? 0 : Double(1 << fractionBits))) * unit
  }

  static func f16(_ bits: UInt16) -> Double { value(bits, exponentBits: 5, fractionBits: 10) }
  static func bf16(_ bits: UInt16) -> Double { value(bits, exponentBits: 8, fractionBits: 7) }

  /// The magnitude bits nearest to a number, ties to the even ones: found by halving, since magnitudes are in order.
  static func nearest(_ magnitude: Double, infinity: UInt16, _ value: (UInt16) -> Double) -> UInt16 {
    var (low, high) = (UInt16(0), infinity)
    while high - low > 1 {
      let middle = low + (high - low) / 2
      if value(middle) <= magnitude { low = middle } else { high = middle }
    }
    // Beyond the largest number, the next one would be where infinity is.
    let step = value(infinity - 1) - value(infinity - 2)
    let above = high == infinity ? value(infinity - 1) + step : value(high)
    let (down, up) = (magnitude - value(low), above - magnitude)
    if down == up { return low.isMultiple(of: 2) ? low : high }
    return down < up ? low : high
  }

  @Test func `all 65,536 patterns of f16 and bf16 widen to the numbers they stand for and round to themselves`() {
    for pattern in 0...UInt16.max {
      for (widened, expected, bits) in [
        (HalfPrecision.float(f16Bits: pattern), Self.f16(pattern), HalfPrecision.f16Bits),
        (HalfPrecision.float(bf16Bits: pattern), Self.bf16(pattern), HalfPrecision.bf16Bits),
      ] as [(Float, Double, (Float) -> UInt16)] {
        if expected.isNaN {
          let isQuietNaN = widened.isNaN && bits(widened) & 0x7FFF > 0x7C00
          if !isQuietNaN { Issue.record("NaN \(pattern)") }
        } else if Double(widened) != expected || widened.sign != expected.sign || bits(widened) != pattern {
          Issue.record("pattern \(pattern) is \(widened), not \(expected), and rounds to \(bits(widened))")
        }
      }
    }
  }

  /// Random numbers over all exponents, and numbers around the middle between two neighbours.
  static func numbers(seed: UInt64, _ value: (UInt16) -> Double) -> [Float] {
    var state = seed
    func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 16
    }
    var numbers: [Float] = []
    for _ in 0..<20_000 {
      let number = Float(bitPattern: UInt32(truncatingIfNeeded: next()))
      if !number.isNaN { numbers.append(number) }
      let bits = UInt16(truncatingIfNeeded: next()) & 0x7FFF
      let middle = Float((value(bits) + value(bits + 1)) / 2)
      guard middle.isFinite else { continue }
      numbers += [middle, middle.nextUp, middle.nextDown, -middle]
    }
    return numbers + [
      0, -0.0, 65_504, 65_519.996, 65_520, 65_535, 65_536, .infinity, 0x1p-24, 0x1p-25, 0x1.000002p-25,
      0x1p-26, 0x1.ffcp-15, 0x1.ffep-15, 0x1p-14, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
    ]
  }

  @Test(arguments: 0..<4)
  func `numbers round to the nearest f16, ties to even`(seed: UInt64) {
    for number in Self.numbers(seed: seed, Self.f16) {
      let sign: UInt16 = number.sign == .minus ? 0x8000 : 0
      let expected = sign | Self.nearest(Double(number.magnitude), infinity: 0x7C00, Self.f16)
      let found = HalfPrecision.f16Bits(number)
      if found != expected { Issue.record("\(number): \(found), not \(expected)") }
    }
  }

  @Test(arguments: 0..<4)
  func `numbers round to the nearest bf16, ties to even`(seed: UInt64) {
    for number in Self.numbers(seed: seed, Self.bf16) {
      let sign: UInt16 = number.sign == .minus ? 0x8000 : 0
      let expected = sign | Self.nearest(Double(number.magnitude), infinity: 0x7F80, Self.bf16)
      let found = HalfPrecision.bf16Bits(number)
      if found != expected { Issue.record("\(number): \(found), not \(expected)") }
    }
  }

  @Test func `every NaN stays one`() {
    for bits in [0x7F80_0001, 0x7FC0_0000, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF, 0x7F80_8000] as [UInt32] {
      let number = Float(bitPattern: bits)
      for element in ElementType.allCases {
        let isNaN = element.rounded(number).isNaN
        #expect(isNaN, "\(bits) in \(element)")
      }
    }
  }

  @Test func `names and sizes of element types`() {
    #expect(ElementType.allCases.map(\.name) == ["f32", "f16", "bf16", "i8"])
    #expect(ElementType.allCases.map(\.byteCount) == [4, 2, 2, 1])
    #expect(ElementType.allCases.map(\.rawValue) == [0, 1, 2, 3])
    #expect(ElementType.allCases.map(\.arrival) == [.f32, .f16, .bf16, .f16])
    for element in ElementType.allCases { #expect(ElementType(name: element.name) == element) }
    for name in ["", "F32", "f64", "int8", "f32 "] { #expect(ElementType(name: name) == nil) }
  }
}
