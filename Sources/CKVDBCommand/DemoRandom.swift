/// Random numbers for made-up data: the same for the same seed, on every machine.

internal import Glibc

/// SplitMix64: 64 bits of state, an addition and a mix per number.
package struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// Uniform in [0, 1).
  package mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// Uniform in 0..<count.
  package mutating func index(_ count: Int) -> Int { min(Int(unit() * Double(count)), count - 1) }

  /// Standard normal, by Box and Muller's method.
  package mutating func normal() -> Double {
    let radius = (-2 * log(1 - unit())).squareRoot()
    return radius * cos(2 * .pi * unit())
  }

  package mutating func normals(_ count: Int, scale: Double = 1) -> [Float] {
    (0..<count).map { _ in Float(normal() * scale) }
  }

  /// Exponential with the given mean.
  package mutating func exponential(mean: Double) -> Double { -log(1 - unit()) * mean }
}

/// Draws indices with given weights.
package struct WeightedChoice {
  private let cumulative: [Double]

  package init(_ weights: [Double]) {
    var sum = 0.0
    cumulative = weights.map { weight in
      sum += weight
      return sum
    }
  }

  /// Weights 1, 1/2^s, 1/3^s, ...
  package static func zipf(_ count: Int, exponent: Double) -> WeightedChoice {
    WeightedChoice((1...max(count, 1)).map { pow(Double($0), -exponent) })
  }

  package func draw(_ random: inout SplitMix64) -> Int {
    let target = random.unit() * (cumulative.last ?? 0)
    var (low, high) = (0, cumulative.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if cumulative[middle] > target { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
