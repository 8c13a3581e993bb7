/// Random numbers that a seed decides, so that a test that fails can be run again as it was.

struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: some BinaryInteger) { state = UInt64(truncatingIfNeeded: seed) }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }

  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

  /// Multiples of `1 / steps` of at most `bound`: sums of their products are exact in 32 bits, and a tie is a tie.
  mutating func numbers(_ count: Int, bound: Int = 2, steps: Int = 64) -> [Float] {
    (0..<count).map { _ in Float(Int.random(in: -bound * steps...bound * steps, using: &self)) / Float(steps) }
  }
}
