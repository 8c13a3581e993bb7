/// The kernel that peers attend with, held against 64-bit arithmetic at every level that this processor has.

import CFullAttend
import Testing

/// One after another: the level is the process's.
@Suite(.serialized) struct FullAttendTests {
  static let levels = [FULL_SERIAL, FULL_AVX2, FULL_AVX512].filter { $0.rawValue <= full_best_level().rawValue }

  /// Bytes of rows at an odd address, and the same numbers in 64 bits.
  private static func rows(
    _ format: full_format, _ count: Int, _ random: inout Seeded
  ) -> (bytes: [UInt8], numbers: [Double]) {
    var (bytes, numbers): ([UInt8], [Double]) = ([0], [])
    for _ in 0..<count {
      if format == FULL_F16 {
        let half = Float16(Float.random(in: -1...1, using: &random))
        numbers.append(Double(half))
        withUnsafeBytes(of: half.bitPattern) { bytes.append(contentsOf: $0) }
      } else {
        let float = Float.random(in: -1...1, using: &random)
        numbers.append(Double(float))
        withUnsafeBytes(of: float) { bytes.append(contentsOf: $0) }
      }
    }
    return (bytes, numbers)
  }

  private static func expected(
    _ keys: [Double], _ values: [Double], _ count: Int, _ width: Int, _ heads: Int, _ query: [Float], _ scale: Float
  ) -> [Double] {
    var output = [Double](repeating: 0, count: width)
    let part = width / heads
    for head in 0..<heads where count > 0 {
      let columns = head * part..<(head + 1) * part
      let scores = (0..<count).map { i in
        columns.reduce(0) { $0 + Double(query[$1]) * keys[i * width + $1] } * Double(scale)
      }
      let exponentials = scores.map { Self.exponential($0 - scores.max()!) }
      let sum = exponentials.reduce(0, +)
      for j in columns {
        output[j] = (0..<count).reduce(0) { $0 + exponentials[$1] * values[$1 * width + j] } / sum
      }
    }
    return output
  }

  /// e^x for x <= 0 by its series, without a mathematics library.
  private static func exponential(_ x: Double) -> Double {
    let part = x / 1_024
    var (sum, term) = (1.0, 1.0)
    for k in 1...12 {
      term *= part / Double(k)
      sum += term
    }
    for _ in 0..<10 { sum *= sum }
    return sum
  }

  @Test(arguments: [FULL_F16.rawValue, FULL_F32.rawValue])
  func `every level agrees with 64-bit arithmetic for every tail, head count and width`(format: UInt32) {
    let format = full_format(rawValue: format)
    var random = Seeded(state: 7)
    for level in Self.levels {
      #expect(full_use_level(level) == 1)
      for (width, heads) in [(256, 1), (256, 4), (64, 1), (64, 4), (48, 3), (320, 2), (272, 1), (24, 3), (10, 2)] {
        for count in [0, 1, 2, 3, 4, 5, 15, 16, 17, 33, 100] {
          let (keys, keyNumbers) = Self.rows(format, count * width, &random)
          let (values, valueNumbers) = Self.rows(format, count * width, &random)
          let query = (0..<width).map { _ in Float.random(in: -3...3, using: &random) }
          var scores = [Float](repeating: .nan, count: count * heads + 1)
          var output = [Float](repeating: .nan, count: width)
          keys.withUnsafeBytes { keys in
            values.withUnsafeBytes { values in
              full_attend(
                format, keys.baseAddress! + 1, values.baseAddress! + 1, count, width, heads, query, 0.25, &scores,
                &output)
            }
          }
          let wanted = Self.expected(keyNumbers, valueNumbers, count, width, heads, query, 0.25)
          let largest = wanted.map(abs).max()!
          let difference = zip(wanted, output).map { abs($0 - Double($1)) }.max()!
          #expect(difference <= 1e-5 * largest, "level \(level), width \(width), \(heads) heads, \(count) positions")
          #expect(scores.last!.isNaN, "written beyond the scores")
        }
      }
    }
  }

  @Test func `scores that lie far apart leave the largest alone`() {
    for level in Self.levels {
      #expect(full_use_level(level) == 1)
      for count in [1, 7, 40] {
        var scores = (0..<count).map { Float($0) * -500 }
        #expect(abs(full_exponentials(&scores, count) - 1) < 1e-6)
        #expect(scores[0] == 1)
        #expect(scores.dropFirst().allSatisfy { $0 >= 0 && $0 < 1e-30 })
      }
    }
  }

  @Test func `every f16 number is widened exactly`() {
    let halves = (0...UInt16.max).filter { !Float16(bitPattern: $0).isNaN }
    for level in Self.levels {
      #expect(full_use_level(level) == 1)
      var floats = [Float](repeating: 0, count: halves.count)
      halves.withUnsafeBytes { full_widen($0.baseAddress, halves.count, &floats) }
      #expect(zip(halves, floats).allSatisfy { Float(Float16(bitPattern: $0)).bitPattern == $1.bitPattern })
    }
  }
}

/// A small seeded generator: the same numbers in every run.
struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state ^ state >> 29) &* 0xBF58_476D_1CE4_E5B9
  }
}
