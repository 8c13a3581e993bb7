/// The data that every engine stores: users, histories and streams of new positions. An entry is a function of its user
/// and position alone, so that whatever an engine returns can be checked without keeping a copy.
///
/// The shape is fixed: one layer, d = 256 (2 + 254), m = 1,024, key and value alike; the full f16 cache of a position
/// is 1,024 bytes.

import Glibc

/// What one position holds: two pool indices of ten bits, four f16 numbers.
struct Entry: Equatable {
  /// I_k, then I_v, ten bits each.
  var indices: UInt32
  /// The bits of u_k's two numbers, then of u_v's.
  var numbers: UInt64

  /// Bytes of an entry as the peers keep it: three for the indices, eight for the numbers.
  static let byteCount = 11

  @inline(__always) init(user: Int64, position: Int) {
    let first = SplitMix.mix(UInt64(bitPattern: user) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(position))
    indices = UInt32(truncatingIfNeeded: first & 0xF_FFFF)
    // Sign, exponent -3 ... 0, mantissa: finite normal f16 numbers, exact in every element type but bf16 and i8.
    let word = SplitMix.mix(first ^ 0x5555_5555_5555_5555)
    numbers = (word & 0x8FFF_8FFF_8FFF_8FFF) | 0x3000_3000_3000_3000
  }

  /// The same with indices modulo `poolRows`, a power of two.
  @inline(__always) func within(poolRows: Int) -> Entry {
    let mask = UInt32(truncatingIfNeeded: poolRows - 1)
    var entry = self
    entry.indices = (indices & mask) | (indices >> 10 & mask) << 10
    return entry
  }

  @inline(__always) init(_ bytes: UnsafeRawPointer) {
    let head = bytes.loadUnaligned(as: UInt16.self)
    indices = UInt32(head) | UInt32(bytes.load(fromByteOffset: 2, as: UInt8.self)) << 16
    numbers = bytes.loadUnaligned(fromByteOffset: 3, as: UInt64.self)
  }

  @inline(__always) func write(to bytes: UnsafeMutableRawPointer) {
    bytes.storeBytes(of: UInt16(truncatingIfNeeded: indices), as: UInt16.self)
    bytes.storeBytes(of: UInt8(truncatingIfNeeded: indices >> 16), toByteOffset: 2, as: UInt8.self)
    bytes.storeBytes(of: numbers, toByteOffset: 3, as: UInt64.self)
  }

  /// One of the four numbers.
  @inline(__always) func number(_ place: Int) -> Float {
    let bits = UInt32(truncatingIfNeeded: numbers >> (UInt64(place) * 16)) & 0xFFFF
    return Float(bitPattern: (bits & 0x8000) << 16 | ((bits & 0x7FFF) << 13 &+ 0x3800_0000))
  }

  @inline(__always) func hashed(into hash: UInt64) -> UInt64 {
    SplitMix.mix(hash ^ numbers) &+ UInt64(indices)
  }
}

/// Bytes that count as payload and as full cache, per position.
enum PositionBytes {
  static let fullF16 = 1_024
  static let payloadF16 = 10.5
  static let payloadI8 = 6.5
}

/// Users with their ids, in order of id, and the lengths of their histories.
struct Population {
  enum Lengths { case equal(Int), logNormal(median: Double, sigma: Double, total: Int) }

  var ids: [Int64]
  var lengths: [Int]

  init(users: Int, _ lengths: Lengths, seed: UInt64) {
    // An odd multiplier permutes the numbers below 2^40: scattered ids, none twice.
    ids = (0..<users).map { Int64((UInt64($0) &+ seed) &* 0x5_DEEC_E66D & 0xFF_FFFF_FFFF) }.sorted()
    switch lengths {
    case .equal(let length): self.lengths = Array(repeating: length, count: users)
    case .logNormal(let median, let sigma, let total):
      var random = SplitMix(seed: seed)
      let drawn = (0..<users).map { _ in median * exp(sigma * random.normal()) }
      let scale = Double(total) / drawn.reduce(0, +)
      self.lengths = drawn.map { max(1, Int(($0 * scale).rounded())) }
    }
  }

  var count: Int { ids.count }
  var positions: Int { lengths.reduce(0, +) }

  /// The hash of a user's first `count` entries, as `Engine.hash(of:)` gives it.
  func hash(of user: Int64, count: Int) -> UInt64 {
    (0..<count).reduce(0) { Entry(user: user, position: $1).hashed(into: $0) }
  }
}

/// New positions of one user inside a commit.
struct Run {
  var user: Int64
  /// Where the run's entries start in the commit, and how many there are.
  var start: Int
  var count: Int
}

/// Makes commits of new positions; knows every user's length, so that entries are the right ones.
struct EventStream {
  private let ids: [Int64]
  private(set) var lengths: [Int]
  private let draw: UserDraw
  private var random: SplitMix

  init(_ population: Population, _ kind: UserDraw.Kind, seed: UInt64) {
    ids = population.ids
    lengths = population.lengths
    draw = UserDraw(kind, count: population.count, seed: seed)
    random = SplitMix(seed: seed)
  }

  /// The next `count` positions, grouped by user in order of id. `distinct`: each of another user.
  mutating func next(_ count: Int, distinct: Bool = false) -> (runs: [Run], entries: [Entry]) {
    var drawn: [Int] = []
    var seen: Set<Int> = []
    while drawn.count < count {
      let place = draw.next(&random)
      if !distinct || seen.insert(place).inserted { drawn.append(place) }
    }
    drawn.sort()
    var runs: [Run] = []
    var entries: [Entry] = []
    for place in drawn {
      if runs.last?.user == ids[place] {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(Run(user: ids[place], start: entries.count, count: 1))
      }
      entries.append(Entry(user: ids[place], position: lengths[place]))
      lengths[place] += 1
    }
    return (runs, entries)
  }
}
