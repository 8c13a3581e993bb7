import CacheTypes
import RowStorage
import Testing

struct QuantiserTests {
  /// The column after eight bits, with its step.
  static func throughEightBits(_ column: [Float]) -> (values: [Float], step: Float) {
    var bytes = [UInt8](repeating: 0, count: Quantiser.columnByteCount(.i8, count: column.count))
    var result = [Float](repeating: .nan, count: column.count)
    bytes.withUnsafeMutableBytes { Quantiser.pack(column, 0, 0..<column.count, into: $0) }
    result.withUnsafeMutableBufferPointer { target in
      bytes.withUnsafeBytes { Quantiser.unpack($0, 0..<column.count, into: target) }
    }
    return (result, HalfPrecision.float(f16Bits: UInt16(bytes[0]) | UInt16(bytes[1]) << 8))
  }

  static func rounded(_ value: Float) -> Float { ElementType.f16.rounded(value) }

  @Test(arguments: 0..<300)
  func `a number comes back within half a step, and a step is no coarser than it must be`(seed: Int) {
    var random = SplitMix64(seed: UInt64(seed))
    let scale = Float.random(in: -24...15, using: &random)
    let centre = Float.random(in: -1...1, using: &random) * (seed % 3 == 0 ? 0 : 100)
    let column = (0..<Int.random(in: 1...200, using: &random)).map { _ -> Float in
      Self.rounded(max(-65_504, min(65_504, centre + Float.random(in: -1...1, using: &random) * exp2(scale))))
    }
    let (values, step) = Self.throughEightBits(column)
    let (low, high) = (column.min()!, column.max()!)
    for (value, original) in zip(values, column) {
      let error = abs(Double(value) - Double(original))
      let slack = Double(max(abs(low), abs(high))) * 0x1p-23
      #expect(error <= Double(step) / 2 * (1 + 0x1p-20) + slack, "seed \(seed): \(original) came back as \(value)")
    }
    // What rounding the offset and the step to f16 may add.
    let span = Double(high) - Double(low)
    let offsetRounding = max(Double(max(abs(low), abs(high))) * 0x1p-11, 0x1p-25)
    #expect(Double(step) <= (span / 2 + offsetRounding) / 127 * (1 + 0x1p-9) + 0x1p-24)
  }

  private func exp2(_ exponent: Float) -> Float {
    let whole = exponent.rounded(.down)
    return Float(sign: .plus, exponent: Int(whole), significand: 1 + (exponent - whole))
  }

  @Test func `a constant column comes back exactly`() {
    for value in [0, 1, -1, 65_504, -65_504, 0x1p-24, 0.333251953125] as [Float] {
      let column = [Float](repeating: value, count: 9)
      #expect(Self.throughEightBits(column).values == column)
    }
  }

  @Test func `what comes back can be held in f16 again`() {
    let extremes: [[Float]] = [
      [-65_504, 65_504], [65_504, 65_472], [0, 65_504], [-65_504, 0, 65_504], [-65_504, -65_440], [0x1p-24, 0],
      [0x1p-24, -0x1p-24, 0],
    ]
    for column in extremes {
      for value in Self.throughEightBits(column).values {
        #expect(ElementType.f16.rounded(value).isFinite, "\(column) came back as \(value)")
      }
    }
  }

  @Test func `numbers that no row may hold do not trap`() {
    for value in [Float.infinity, -.infinity, .nan, 1e38] {
      #expect(Self.throughEightBits([0, value, 1]).values.count == 3)
    }
  }
}
