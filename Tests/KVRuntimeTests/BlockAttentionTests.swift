import CKernels
import CacheTypes
import KVRuntime
import Testing

/// Queries side by side, and tables made beforehand, against each query alone. Levels are forced for the whole process:
/// no two at once; other suites do not mind, since results are the same bits.
@Suite(.serialized) struct `Attention over blocks of queries` {
  /// A case without positions, so that all queries see the same.
  static func make(_ seed: Int, _ name: FunctionName, queries: Int, _ plan: LayerPlan = LayerPlan()) -> FunctionCase {
    var one = FunctionCase(seed: seed, name, queries: queries, plan)
    one.queries.positions = nil
    return one
  }

  static func attend(
    _ one: FunctionCase, _ queries: AttentionQueries? = nil, _ candidates: CandidateTables? = nil
  ) throws -> [Float] {
    try one.function.attend(
      queries ?? one.queries, one.entries, count: one.count, shape: one.layer.shape, tensors: one.layer.tensors,
      candidates: candidates)
  }

  /// Every query of a softmax in a call of its own.
  static func alone(_ one: FunctionCase) throws -> [Float] {
    let width = one.layer.shape.key.width
    return try (0..<one.queries.count).flatMap { row in
      var query = one.queries
      query.values = Array(one.queries.values[row * width..<(row + 1) * width])
      query.count = 1
      query.positions = one.queries.positions.map { [$0[row]] }
      return try attend(one, query)
    }
  }

  @Test(arguments: 0..<160)
  func `a query in company has the bits that it has alone`(_ seed: Int) throws {
    let one = Self.make(seed, .softmax, queries: [5, 8, 16, 17, 20, 21, 33, 48][seed / 8 % 8])
    #expect(bits(try Self.attend(one)) == bits(try Self.alone(one)), "\(one.layer.shape), count \(one.count)")
  }

  @Test(arguments: 0..<40)
  func `queries that see different positions keep their bits, whichever stand next to them`(_ seed: Int) throws {
    var one = Self.make(seed, .softmax, queries: 40)
    var draw = Draw(seed)
    let lengths = (0..<3).map { _ in Int.random(in: 0...one.count, using: &draw) }
    one.queries.positions = (0..<40).map { lengths[$0 / 7 % 3] }
    #expect(bits(try Self.attend(one)) == bits(try Self.alone(one)), "\(one.layer.shape), count \(one.count)")
  }

  @Test(arguments: 0..<24)
  func `weights that vanish leave the bits alone`(_ seed: Int) throws {
    var one = Self.make(seed, .softmax, queries: 16)
    // Scores hundreds apart: most exponentials are 0, in every other query.
    for place in one.queries.values.indices where place / one.layer.shape.key.width % 2 == 0 {
      one.queries.values[place] *= 500
    }
    #expect(bits(try Self.attend(one)) == bits(try Self.alone(one)), "\(one.layer.shape), count \(one.count)")
  }

  @Test func `every level gives the same bits`() throws {
    defer { _ = ckv_kernels_force(-1) }
    for seed in 0..<24 {
      let one = Self.make(seed, .softmax, queries: 21)
      var outputs: [[UInt32]] = []
      for level in Level.all {
        #expect(ckv_kernels_force(level.number))
        outputs.append(bits(try Self.attend(one)))
        outputs.append(bits(try Self.alone(one)))
      }
      #expect(Set(outputs).count == 1, "seed \(seed), \(one.layer.shape)")
    }
  }

  @Test(arguments: 0..<8)
  func `outputs agree with the definition in 64 bits`(_ seed: Int) throws {
    let one = Self.make(seed, .softmax, queries: 18)
    let output = try Self.attend(one)
    let keys = Definition.keys(one.layer, one.entries, one.count)
    let values = Definition.values(one.layer, one.entries, one.count)
    let (keyWidth, width) = (one.layer.shape.key.width, one.layer.shape.value!.width)
    let seen = max(0, one.count - (one.queries.window ?? one.count))..<one.count
    for row in 0..<18 {
      let wanted = Definition.attend(
        one.queries.values[row * keyWidth..<(row + 1) * keyWidth], keys, values, heads: one.layer.shape.heads,
        seen: Array(seen), scale: one.queries.scale)
      #expect(difference(output[row * width..<(row + 1) * width], wanted) < 1e-5, "\(one.layer.shape)")
    }
  }

  @Test(arguments: [1, 2])
  func `the first query with a score beyond 32 bits is named`(_ heads: Int) throws {
    var one = Self.make(3, .softmax, queries: 20, LayerPlan(isAdditive: false, heads: heads))
    one.queries.scale = 1
    let width = one.layer.shape.key.width
    for row in [18, 11, 9] {
      for column in 0..<width { one.queries.values[row * width + column] = 3e38 }
      let error = #expect(throws: StoreError.self) { try Self.attend(one) }
      #expect("\(try #require(error))".contains("query at row \(row):"))
    }
  }

  // MARK: Tables

  @Test(arguments: 0..<12, FunctionName.allCases)
  func `tables made beforehand leave every function's bits alone, wherever they end`(
    _ seed: Int, _ name: FunctionName
  ) throws {
    let one = Self.make(seed, name, queries: [1, 3, 16, 19, 23, 37][seed % 6])
    let plain = bits(try Self.attend(one))
    var byteCounts: Set<Int> = []
    func tables(_ limit: Int) throws -> CandidateTables {
      try CandidateTables(
        one.queries, goesInBlocks: one.function.goesInBlocks, shape: one.layer.shape, tensors: one.layer.tensors,
        byteLimit: limit)
    }
    let whole = try tables(.max)
    let smallest = one.queries.count * one.layer.shape.heads * one.layer.shape.key.poolRows * 4
    #expect(whole.byteCount >= smallest)
    for limit in [whole.byteCount, whole.byteCount - 1, whole.byteCount / 2, whole.byteCount / 5, 0] {
      let some = try tables(limit)
      #expect(some.byteCount <= limit)
      byteCounts.insert(some.byteCount)
      #expect(bits(try Self.attend(one, nil, some)) == plain, "\(one.layer.shape), count \(one.count), \(limit)")
    }
    #expect(byteCounts.contains(0) && byteCounts.contains(whole.byteCount))
  }

  @Test func `a limit below zero and queries that do not fit are refused`() throws {
    let one = Self.make(1, .softmax, queries: 3)
    for (values, limit) in [(one.queries.values, -1), (Array(one.queries.values.dropLast()), 1 << 20)] {
      var queries = one.queries
      queries.values = values
      #expect(throws: StoreError.self) {
        try CandidateTables(
          queries, goesInBlocks: true, shape: one.layer.shape, tensors: one.layer.tensors, byteLimit: limit)
      }
    }
  }
}
