import CKernels
import CacheTypes
import Testing

extension Level {
  fileprivate var hashes: ckv_hash_kernels { ckv_hash_kernels_at(ckv_level(UInt32(number)))!.pointee }
}

extension Guarded {
  fileprivate var words: UnsafeMutablePointer<UInt64> { start.assumingMemoryBound(to: UInt64.self) }
}

/// Codes bit by bit.
private struct Codes {
  var words: Int
  var bits: [[Bool]]

  var packed: [UInt64] {
    bits.flatMap { code in
      (0..<words).map { word in
        (0..<64).reduce(UInt64(0)) { $0 | (word * 64 + $1 < code.count && code[word * 64 + $1] ? 1 << UInt64($1) : 0) }
      }
    }
  }
}

/// Numbers whose signs are taken: a table, the rows that positions name, user parts, coefficients.
private struct SignCase {
  let count: Int
  let dimensions: Int
  let first: Int
  let bits: Int
  let words: Int
  let hasIndices: Bool
  /// Whether a row's steps follow each other, as in a model's table, or steps lie one after the other.
  let isRowMajor: Bool
  let rows: Int
  var table: [Float]
  var indices: [UInt32]
  var columns: [Float]
  var coefficients: [Float]

  var steps: Int { (bits + 15) / 16 }
  var stepStride: Int { isRowMajor ? 16 : rows * 16 }
  var rowStride: Int { isRowMajor ? steps * 16 : 16 }

  init(_ draw: inout Draw, count: Int, dimensions: Int, first: Int, bits: Int, words: Int, hasIndices: Bool) {
    (self.count, self.dimensions, self.first, self.bits) = (count, dimensions, first, bits)
    (self.words, self.hasIndices) = (words, hasIndices)
    isRowMajor = Bool.random(using: &draw)
    rows = hasIndices ? 7 : max(count, 1)
    table = draw.numbers(rows * (bits + 15) / 16 * 16 + 64 * rows)
    indices = draw.rows(count, below: rows)
    columns = draw.numbers(dimensions * count)
    // The rows' last bits may be missing.
    coefficients = draw.numbers(max(0, (dimensions - 1) * 64 + (bits + 15) / 16 * 16))
    table.removeLast(table.count - rows * steps * 16)
  }

  func start(_ position: Int, _ bit: Int) -> Float {
    let row = hasIndices ? Int(indices[position]) : position
    return table[bit / 16 * stepStride + row * rowStride + bit % 16]
  }

  /// The sum in 64 bits, and the most that the 32-bit sum may be away from it.
  func sum(_ position: Int, _ bit: Int) -> (value: Double, error: Double) {
    var value = Double(start(position, bit))
    var size = abs(value)
    for d in 0..<dimensions {
      let product = Double(coefficients[d * 64 + bit]) * Double(columns[d * count + position])
      value += product
      size += abs(product)
    }
    return (value, size * Double(dimensions + 1) * 0x1p-23 + 1e-44)
  }

  /// The codes, over words that held `old` before.
  func codes(_ level: Level, _ memory: GuardedMemory, old: UInt64, shift: Int = 0) -> [UInt64] {
    let codes = memory.copy([UInt64](repeating: old, count: max(count * words, 1)))
    let aside = [Float](repeating: 0, count: shift)
    level.hashes.signs_f32(
      memory.copy(aside + table).floats + shift, stepStride, rowStride,
      hasIndices ? UnsafePointer(memory.copy(indices).indices) : nil,
      dimensions > 0 ? UnsafePointer(memory.copy(aside + columns).floats + shift) : nil, count,
      dimensions > 0 ? UnsafePointer(memory.copy(aside + coefficients).floats + shift) : nil, dimensions, first, bits,
      count, words, codes.words)
    return Array(UnsafeBufferPointer(start: codes.words, count: count * words))
  }
}

@Suite struct `Kernels of hash codes` {
  @Test(arguments: Level.all)
  func `bits are the signs of 64-bit sums, whatever the tail`(_ level: Level) {
    var draw = Draw(Int(level.number))
    for bits in 1...64 {
      let memory = GuardedMemory()
      defer { memory.free() }
      let count = (bits * 7) % 35
      let words = 1 + bits % 3
      let one = SignCase(
        &draw, count: count, dimensions: bits % 4, first: 0, bits: bits, words: words, hasIndices: bits % 5 != 0)
      let codes = one.codes(level, memory, old: .max)
      for position in 0..<count {
        let word = codes[position * words]
        #expect(bits == 64 || word >> UInt64(bits) == 0, "bits behind the last are cleared")
        for bit in 0..<bits {
          let sum = one.sum(position, bit)
          if abs(sum.value) > sum.error { #expect((word >> UInt64(bit) & 1 == 1) == (sum.value > 0)) }
        }
        #expect(codes[position * words + 1..<(position + 1) * words].allSatisfy { $0 == .max }, "other words stay")
      }
    }
  }

  @Test(arguments: Level.all)
  func `every level takes the same signs, at odd places and in the middle of a word`(_ level: Level) {
    var draw = Draw(77)
    for seed in 0..<160 {
      let memory = GuardedMemory()
      defer { memory.free() }
      let first = [0, 16, 32, 48][seed % 4]
      var one = SignCase(
        &draw, count: seed % 33, dimensions: seed % 10, first: first,
        bits: Int.random(in: 1...64 - first, using: &draw),
        words: 1 + seed % 2, hasIndices: seed % 3 != 0)
      // Sums that cancel, denormals, infinities and what they make together.
      let tiny = Float.leastNonzeroMagnitude
      let odd: [Float] = [0, -0.0, tiny, -tiny, tiny * 1_000, .infinity, -.infinity, .nan, 3e38, -3e38]
      for place in one.table.indices where place % 3 == 0 { one.table[place] = odd.randomElement(using: &draw)! }
      for place in one.columns.indices where place % 5 == 0 { one.columns[place] = odd.randomElement(using: &draw)! }
      let wanted = one.codes(Level.all[0], memory, old: 0xAAAA_BBBB_CCCC_DDDD)
      #expect(one.codes(level, memory, old: 0xAAAA_BBBB_CCCC_DDDD, shift: seed % 2) == wanted, "seed \(seed)")
      for position in 0..<one.count where first > 0 {
        let kept = UInt64.max >> UInt64(64 - first)
        #expect(wanted[position * one.words] & kept == 0xAAAA_BBBB_CCCC_DDDD & kept, "lower bits stay")
      }
    }
  }

  @Test(arguments: Level.all)
  func `zeros, denormals, infinities and NaN: only what is above 0 sets a bit`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(3)
    var one = SignCase(&draw, count: 1, dimensions: 0, first: 0, bits: 8, words: 1, hasIndices: false)
    let tiny = Float.leastNonzeroMagnitude
    one.table.replaceSubrange(0..<8, with: [0, -0.0, tiny, -tiny, .infinity, -.infinity, .nan, 1])
    #expect(one.codes(level, memory, old: 0) == [0b1001_0100])
  }

  @Test(arguments: Level.all, [1, 2, 3])
  func `the nearest are kept, the later of equal ones`(_ level: Level, _ words: Int) {
    var draw = Draw(words)
    for count in Array(1...40) + [300, 1_030] {
      let memory = GuardedMemory()
      defer { memory.free() }
      let bitCount = words * 64 - [0, 3, 60][count % 3]
      let query = (0..<bitCount).map { _ in Bool.random(using: &draw) }
      // Random codes, codes near the query, and all the same.
      let codes = Codes(
        words: words,
        bits: (0..<count).map { place in
          switch count % 4 {
          case 0: return query
          case 1: return query.map { $0 != (Int.random(in: 0..<30, using: &draw) == 0) }
          case 2 where place % 2 == 0: return query.map { !$0 }
          default: return (0..<bitCount).map { _ in Bool.random(using: &draw) }
          }
        })
      let distances = codes.bits.map { zip($0, query).count { $0 != $1 } }
      let sorted = (0..<count).sorted { (distances[$0], -$0) < (distances[$1], -$1) }
      for top in Set([1, count, Int.random(in: 1...count, using: &draw)]) {
        let places = memory.room(byteCount: top * 4)
        level.hashes.nearest_u64(
          memory.copy(codes.packed).words, memory.copy(Codes(words: words, bits: [query]).packed).words, words, count,
          top, memory.room(byteCount: count * 4).indices, places.indices)
        #expect(places.readIndices(top).map(Int.init) == sorted.prefix(top).sorted(), "\(top) of \(count)")
      }
    }
  }

  @Test(arguments: Level.all, [1, 2, 3])
  func `matches are the codes whose bits of a group are the query's`(_ level: Level, _ words: Int) {
    var draw = Draw(words + 10)
    for count in Array(0...40) + [130] {
      let memory = GuardedMemory()
      defer { memory.free() }
      let bitCount = words * 64
      let query = (0..<bitCount).map { _ in Bool.random(using: &draw) }
      var codes = Codes(words: words, bits: [])
      for _ in 0..<count {
        codes.bits.append(query.map { $0 != (Int.random(in: 0..<16, using: &draw) == 0) })
      }
      for bits in [1, 4, 17, 64, 65, bitCount] where bits <= bitCount {
        let first = Int.random(in: 0...bitCount - bits, using: &draw)
        let group = first..<first + bits
        let wanted = (0..<count).filter { codes.bits[$0][group] == query[group] }
        let places = memory.room(byteCount: count * 4)
        let found = level.hashes.matching_u64(
          memory.copy(codes.packed).words, memory.copy(Codes(words: words, bits: [query]).packed).words, words, first,
          bits, count, places.indices)
        #expect(places.readIndices(found).map(Int.init) == wanted, "bits \(group) of \(count) codes")
      }
    }
  }

  @Test(arguments: Level.all)
  func `sums of squares are taken in 64 bits, and are the same at every level`(_ level: Level) {
    var draw = Draw(5)
    for count in Array(0...70) + [254, 1_000] {
      let memory = GuardedMemory()
      defer { memory.free() }
      let numbers = draw.numbers(count, 1e30) + [1e-30, .leastNonzeroMagnitude, 0]
      let sum = level.hashes.square_sum_f32(memory.copy(numbers).floats, numbers.count)
      let wanted = numbers.reduce(0) { $0 + Double($1) * Double($1) }
      #expect(abs(sum - wanted) <= 1e-12 * wanted)
      #expect(sum == Level.all[0].hashes.square_sum_f32(numbers, numbers.count))
    }
    #expect(level.hashes.square_sum_f32([1, .infinity], 2) == .infinity)
    #expect(level.hashes.square_sum_f32([1, .nan], 2).isNaN)
  }

  @Test(arguments: [1, 2, 3]) func `codes of pool rows are gathered word by word`(_ words: Int) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(words)
    let codes = (0..<9 * words).map { _ in UInt64.random(in: 0...UInt64.max, using: &draw) }
    for count in 0...20 {
      let rows = draw.rows(count, below: 9)
      let target = memory.room(byteCount: count * words * 8)
      ckv_gather_codes_u64(
        memory.copy(codes).words, memory.copy(rows).indices, words, count, target.words)
      #expect(
        Array(UnsafeBufferPointer(start: target.words, count: count * words))
          == rows.flatMap { codes[Int($0) * words..<(Int($0) + 1) * words] })
    }
  }
}
