import CKernels
import CacheTypes
import KVRuntime
import Testing

/// Every way that attention can be made to go, against the others. Which function goes side by side and which does not
/// is no matter here: no forced way may change a bit that it is not said to change.
@Suite struct `Ways through attention` {
  static let sideBySide: [FunctionName] = [.softmax, .silu, .siluBias]

  static func forced(_ isSideBySide: Bool, _ sums: SumPath? = nil, _ scores: ScorePath? = nil) -> ForcedPaths {
    ForcedPaths(scores: scores, sums: sums, isSideBySide: isSideBySide)
  }

  static func attend(_ one: FunctionCase, _ forced: ForcedPaths) throws -> [UInt32] {
    bits(
      try one.function.attend(
        one.queries, one.entries, count: one.count, shape: one.layer.shape, tensors: one.layer.tensors,
        forcing: forced))
  }

  static func stage(_ one: FunctionCase, _ mask: StageMask, _ forced: ForcedPaths) throws -> [UInt32] {
    var queries = one.queries
    queries.positions = nil
    return bits(
      try one.function.attend(
        queries, mask: mask, storedCount: one.count - queries.count, one.entries, count: one.count,
        shape: one.layer.shape, tensors: one.layer.tensors, forcing: forced))
  }

  @Test(arguments: FunctionName.allCases, 0..<24)
  func `side by side gives the bits of one by one, however scores come about`(_ name: FunctionName, _ seed: Int) throws
  {
    for sums in [SumPath.gather, .rowSums] {
      let one = BlockAttention.make(seed, name, queries: [2, 5, 16, 19, 33][seed % 5])
      let wanted = try Self.attend(one, Self.forced(false, sums, .gather))
      for scores in ScorePath.allCases {
        for isSideBySide in [true, false] {
          #expect(
            try Self.attend(one, Self.forced(isSideBySide, sums, scores)) == wanted,
            "\(one.layer.shape), count \(one.count), \(sums), \(scores), \(isSideBySide)")
        }
      }
    }
  }

  @Test(arguments: sideBySide, 0..<60)
  func `queries that see nearly the same positions keep their bits`(_ name: FunctionName, _ seed: Int) throws {
    for sums in [SumPath.gather, .rowSums] {
      var one = BlockAttention.make(seed, name, queries: 20)
      var draw = Draw(seed)
      let least = one.count - one.count / 8
      one.queries.positions = (0..<20).map { _ in Int.random(in: least...one.count, using: &draw) }
      one.queries.window = seed % 4 == 0 ? max(1, one.count / 2) : nil
      #expect(
        try Self.attend(one, Self.forced(true, sums)) == Self.attend(one, Self.forced(false, sums)),
        "\(one.layer.shape), count \(one.count), \(sums)")
    }
  }

  @Test(arguments: sideBySide, 0..<60)
  func `a stage's queries keep their bits, under either mask`(_ name: FunctionName, _ seed: Int) throws {
    for sums in [SumPath.gather, .rowSums] {
      let newCount = [1, 2, 9, 16, 21][seed % 5]
      var one = FunctionCase(
        seed: seed, name, count: newCount + [0, 1, 40, 200, 700][seed / 5 % 5], queries: newCount)
      if seed % 3 > 0 { one.queries.window = nil }
      for mask in StageMask.allCases {
        for scores in [ScorePath.gather, .rowsInUse] {
          #expect(
            try Self.stage(one, mask, Self.forced(true, sums, scores))
              == Self.stage(one, mask, Self.forced(false, sums)),
            "\(one.layer.shape), count \(one.count), \(mask), \(sums), \(scores)")
        }
      }
    }
  }

  @Test(arguments: sideBySide, 0..<24)
  func `weights that vanish and outputs that are zero keep their bits`(_ name: FunctionName, _ seed: Int) throws {
    for sums in [SumPath.gather, .rowSums] {
      var one = BlockAttention.make(seed, name, queries: 16)
      let width = one.layer.shape.key.width
      // Scores hundreds apart in every second query: most exponentials are 0. Every third query is nothing at all.
      for place in one.queries.values.indices {
        if place / width % 2 == 0 { one.queries.values[place] *= 500 }
        if place / width % 3 == 0 { one.queries.values[place] = 0 }
      }
      if seed % 2 == 0 {
        let value = one.layer.shape.value!
        // -1, 0, 1, and the smallest numbers of either sign.
        let rows = (0..<value.poolRows * value.poolWidth).map { place -> Float in
          let number = Float(place % 3 - 1)
          return place % 7 == 0 ? -Float.leastNonzeroMagnitude * number : number
        }
        one.layer.tensors = one.layer.tensors.withValues(Tensor(rows, shape: [value.poolRows, value.poolWidth]))
      }
      let wanted = try Self.attend(one, Self.forced(false, sums))
      #expect(try Self.attend(one, Self.forced(true, sums)) == wanted, "\(one.layer.shape), count \(one.count)")
      for mask in StageMask.allCases where one.count >= 16 {
        #expect(
          try Self.stage(one, mask, Self.forced(true, sums)) == Self.stage(one, mask, Self.forced(false, sums)),
          "\(one.layer.shape), count \(one.count), \(mask)")
      }
    }
  }

  @Test(arguments: sideBySide, StageMask.allCases)
  func `the first query of a stage with a score beyond 32 bits is named`(_ name: FunctionName, _ mask: StageMask) throws
  {
    var one = FunctionCase(seed: 3, name, count: 60, queries: 20, LayerPlan(isAdditive: false, heads: 2))
    one.queries.scale = 1
    one.queries.window = nil
    let width = one.layer.shape.key.width
    for row in [18, 11, 9] {
      for column in 0..<width { one.queries.values[row * width + column] = 3e38 }
      for isSideBySide in [true, false] {
        let error = #expect(throws: StoreError.self) { try Self.stage(one, mask, Self.forced(isSideBySide)) }
        #expect("\(try #require(error))".contains("query at row \(row):"), "\(isSideBySide)")
      }
    }
  }

  @Test(arguments: FunctionName.allCases, 0..<12)
  func `either way of adding values up agrees with the definition`(_ name: FunctionName, _ seed: Int) throws {
    let one = FunctionCase(seed: seed, name)
    var definition = one.definition
    for sums in [SumPath.gather, .rowSums] {
      let output = try one.function.attend(
        one.queries, one.entries, count: one.count, shape: one.layer.shape, tensors: one.layer.tensors,
        forcing: Self.forced(true, sums))
      for row in 0..<one.queries.count {
        let length = one.queries.positions?[row] ?? one.count
        let seen = max(0, length - (one.queries.window ?? length))..<length
        let wanted = definition.attend(row, one.query(row), seen: Array(seen))
        let distance = difference(output[row * one.width..<(row + 1) * one.width], wanted)
        #expect(distance < 1e-5 || definition.margin < 1e-5, "\(one.layer.shape), \(sums)")
      }
    }
  }
}

extension LayerTensors {
  /// The same with another pool of values.
  fileprivate func withValues(_ pool: Tensor) -> LayerTensors {
    let old = value!
    let other = PartTensors(
      projectionWeight: old.projectionWeight, projectionBias: old.projectionBias, routerWeight: old.routerWeight,
      routerBias: old.routerBias, pool: pool, basis: old.basis)
    return LayerTensors(key: key, value: other)
  }
}

private typealias BlockAttention = `Attention over blocks of queries`
