/// Small seeded generators: the same numbers on every machine and in every run.

import Glibc

/// SplitMix64.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  @inline(__always) mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.mix(state)
  }

  /// SplitMix64's output function: a bijection of 64-bit words.
  @inline(__always) static func mix(_ word: UInt64) -> UInt64 {
    var z = word
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// In [0, 1).
  mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  mutating func below(_ limit: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(limit)).high) }

  /// Standard normal.
  mutating func normal() -> Double {
    sqrt(-2 * log(1 - unit())) * cos(2 * .pi * unit())
  }
}

/// Draws users by their place in a population: all alike, or few of them often.
struct UserDraw {
  enum Kind: String { case uniform, zipf }

  private let count: Int
  /// Sums of 1 / rank; empty for uniform draws.
  private let cumulative: [Double]
  /// The place of the user with each rank, so that busy users do not lie side by side.
  private let places: [Int32]

  init(_ kind: Kind, count: Int, seed: UInt64) {
    self.count = count
    guard kind == .zipf else {
      (cumulative, places) = ([], [])
      return
    }
    var sum = 0.0
    cumulative = (1...count).map { rank in
      sum += 1 / Double(rank)
      return sum
    }
    var random = SplitMix(seed: seed ^ 0x5A49_5046)
    places = (0..<Int32(count)).shuffled(using: &random)
  }

  func next(_ random: inout SplitMix) -> Int {
    guard let total = cumulative.last else { return random.below(count) }
    let wanted = random.unit() * total
    var (low, high) = (0, count - 1)
    while low < high {
      let middle = (low + high) / 2
      if cumulative[middle] > wanted { high = middle } else { low = middle + 1 }
    }
    return Int(places[low])
  }
}
