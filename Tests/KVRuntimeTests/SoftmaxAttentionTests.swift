import CKernels
import CacheTypes
import KVRuntime
import Testing

@Suite struct `Softmax attention` {
  struct Case {
    let layer: RandomLayer
    let entries: LayerEntries
    let count: Int
    var queries: AttentionQueries

    init(seed: Int, count: Int? = nil, queries queryCount: Int = 3, _ plan: LayerPlan = LayerPlan()) {
      var draw = Draw(seed)
      layer = RandomLayer(&draw, plan)
      self.count = count ?? [1, 2, 5, 17, 40, 90, 150, 333][seed % 8]
      entries = layer.entries(&draw, count: self.count)
      let bound = Bool.random(using: &draw) ? 1 : Float(4)
      queries = AttentionQueries(values: draw.numbers(queryCount * layer.shape.key.width, bound), count: queryCount)
      if Bool.random(using: &draw) {
        queries.positions = (0..<queryCount).map { _ in Int.random(in: 0...self.count, using: &draw) }
      }
      if Bool.random(using: &draw) { queries.window = Int.random(in: 1...self.count + 2, using: &draw) }
      if Bool.random(using: &draw) { queries.scale = Float.random(in: 0.05...1, using: &draw) }
    }

    func attend(_ queries: AttentionQueries? = nil) throws -> [Float] {
      try AttentionFunction.softmax.attend(
        queries ?? self.queries, entries, count: count, shape: layer.shape, tensors: layer.tensors)
    }

    func query(_ row: Int) -> ArraySlice<Float> {
      let width = layer.shape.key.width
      return queries.values[row * width..<(row + 1) * width]
    }

    /// The first queries only, without positions.
    func staged(_ newCount: Int) -> AttentionQueries {
      var staged = queries
      staged.count = newCount
      staged.values = Array(queries.values.prefix(newCount * layer.shape.key.width))
      staged.positions = nil
      return staged
    }
  }

  /// What query `row` sees if `length` positions exist for it.
  static func seen(_ length: Int, _ window: Int?) -> Range<Int> { max(0, length - (window ?? length))..<length }

  static func check(_ one: Case) throws {
    let output = try one.attend()
    let keys = Definition.keys(one.layer, one.entries, one.count)
    let values = Definition.values(one.layer, one.entries, one.count)
    let width = one.layer.shape.value!.width
    #expect(output.count == one.queries.count * width)
    for row in 0..<one.queries.count {
      let range = seen(one.queries.positions?[row] ?? one.count, one.queries.window)
      let wanted = Definition.attend(
        one.query(row), keys, values, heads: one.layer.shape.heads, seen: Array(range), scale: one.queries.scale)
      #expect(
        difference(output[row * width..<(row + 1) * width], wanted) < 1e-5, "query \(row), \(one.layer.shape)")
    }
  }

  @Test(arguments: 0..<120)
  func `outputs agree with the definition in 64 bits`(_ seed: Int) throws { try Self.check(Case(seed: seed)) }

  @Test(arguments: [ElementType.f32, .f16, .bf16], [1, 2, 4, 8])
  func `every pool type and head count, with few and with many positions per pool row`(
    _ element: ElementType, _ heads: Int
  ) throws {
    for isAdditive in [false, true] {
      for (count, rows) in [(9, 80), (60, 80), (300, 20)] {
        let plan = LayerPlan(
          isAdditive: isAdditive, userWidths: (5, 3), heads: heads, poolElement: element, poolRows: rows)
        try Self.check(Case(seed: heads, count: count, plan))
      }
    }
  }

  @Test(arguments: [1, 2, 4, 8])
  func `heads on both sides of the user part's end, and on it`(_ heads: Int) throws {
    for userWidth in 0...17 {
      try Self.check(
        Case(
          seed: userWidth, count: 31,
          LayerPlan(isAdditive: false, userWidths: (userWidth, 17 - userWidth), heads: heads)))
    }
  }

  @Test func `an interned layer with a pool far longer than the history`() throws {
    for sharesRouter in [true, false] {
      try Self.check(Case(seed: 4, count: 50, LayerPlan(isInterned: true, sharesRouter: sharesRouter, poolRows: 4000)))
    }
  }

  @Test func `an empty range gives zeros`() throws {
    var one = Case(seed: 3, count: 20)
    one.queries.positions = [0, 5, 0]
    let width = one.layer.shape.value!.width
    let output = try one.attend()
    #expect(output.prefix(width).allSatisfy { $0 == 0 } && output.suffix(width).allSatisfy { $0 == 0 })
    #expect(output[width..<2 * width].contains { $0 != 0 })
    let layer = one.layer
    let empty = try AttentionFunction.softmax.attend(
      AttentionQueries(values: Array(one.query(0)), count: 1), LayerEntries(zeroed: layer.shape, count: 0), count: 0,
      shape: layer.shape, tensors: layer.tensors)
    #expect(empty == [Float](repeating: 0, count: width))
  }

  @Test func `scores far apart neither overflow nor vanish`() throws {
    var one = Case(seed: 5, count: 60)
    one.queries.values = one.queries.values.map { $0 * 3000 }
    one.queries.positions = nil
    #expect(try one.attend().allSatisfy(\.isFinite))
    one.queries.scale = .greatestFiniteMagnitude
    #expect(message { _ = try one.attend() } == "query at row 0: a score is beyond what 32-bit floats hold")
  }

  @Test(arguments: 0..<24)
  func `a query's bits do not depend on the other queries`(_ seed: Int) throws {
    let one = Case(seed: seed)
    let output = try one.attend()
    let width = one.layer.shape.value!.width
    for row in 0..<one.queries.count {
      var alone = one.queries
      alone.values = Array(one.query(row))
      alone.count = 1
      alone.positions = one.queries.positions.map { [$0[row]] }
      #expect(bits(try one.attend(alone)) == bits(Array(output[row * width..<(row + 1) * width])))
    }
  }

  @Test(arguments: 0..<24)
  func `causal queries of a stage are as-of queries of what is stored, bit for bit`(_ seed: Int) throws {
    let newCount = [1, 4, 9][seed % 3]
    let one = Case(seed: seed, count: [9, 30, 200][seed / 3 % 3], queries: newCount)
    for storedCount in [0, one.count - newCount] {
      let staged = one.staged(min(newCount, one.count - storedCount))
      let count = storedCount + staged.count
      let entries = one.entries.first(count, of: one.count)
      let output = try AttentionFunction.softmax.attend(
        staged, mask: .causal, storedCount: storedCount, entries, count: count, shape: one.layer.shape,
        tensors: one.layer.tensors)
      var asOf = staged
      asOf.positions = (0..<staged.count).map { storedCount + $0 + 1 }
      #expect(bits(output) == bits(try one.attend(asOf)))
    }
  }

  @Test(arguments: 0..<24)
  func `candidates of a stage see the history and themselves`(_ seed: Int) throws {
    let one = Case(seed: seed, count: [9, 30, 200][seed / 3 % 3], queries: 5)
    let storedCount = seed % 4 == 0 ? 0 : one.count - 5
    let count = storedCount + 5
    let entries = one.entries.first(count, of: one.count)
    let staged = one.staged(5)
    let output = try AttentionFunction.softmax.attend(
      staged, mask: .historyAndSelf, storedCount: storedCount, entries, count: count, shape: one.layer.shape,
      tensors: one.layer.tensors)
    let keys = Definition.keys(one.layer, entries, count)
    let values = Definition.values(one.layer, entries, count)
    let width = one.layer.shape.value!.width
    for row in 0..<5 {
      let range = Self.seen(storedCount + 1, staged.window)
      let wanted = Definition.attend(
        one.query(row), keys, values, heads: one.layer.shape.heads,
        seen: Array(range.dropLast()) + [storedCount + row], scale: staged.scale)
      #expect(difference(output[row * width..<(row + 1) * width], wanted) < 1e-5)
    }
    // The first candidate's output is that of a causal stage, bit for bit.
    let causal = try AttentionFunction.softmax.attend(
      one.staged(1), mask: .causal, storedCount: storedCount, entries.first(storedCount + 1, of: count),
      count: storedCount + 1, shape: one.layer.shape, tensors: one.layer.tensors)
    #expect(bits(causal) == bits(Array(output.prefix(width))))
  }
}

/// Forces a level for the whole process. Other suites do not mind, since results are the same bits.
extension `Encoder at every level` {
  @Test(arguments: 0..<24)
  func `attention and reconstruction are the same bits at every level`(_ seed: Int) throws {
    let one = `Softmax attention`.Case(seed: seed)
    var outputs: [[UInt32]] = []
    for level in Level.all {
      #expect(ckv_kernels_force(level.number))
      let full = Reconstruction.reconstruct(
        one.entries, count: one.count, range: 0..<one.count, shape: one.layer.shape, tensors: one.layer.tensors)
      outputs.append(bits(try one.attend()) + bits(full.keys) + bits(full.values))
    }
    _ = ckv_kernels_force(-1)
    #expect(outputs.allSatisfy { $0 == outputs[0] })
  }
}

extension LayerEntries {
  /// The first `length` of `count` positions.
  func first(_ length: Int, of count: Int) -> LayerEntries {
    func columns(_ all: [Float]) -> [Float] {
      (0..<(count == 0 ? 0 : all.count / count)).flatMap { all[$0 * count..<$0 * count + length] }
    }
    return LayerEntries(
      keyIndices: Array(keyIndices.prefix(length)), valueIndices: Array(valueIndices.prefix(length)),
      keyUser: columns(keyUser), valueUser: columns(valueUser))
  }
}

@Suite struct `What attention refuses` {
  typealias Case = `Softmax attention`.Case

  static func plain() -> Case {
    var one = Case(seed: 1, count: 10)
    one.queries = AttentionQueries(values: one.queries.values, count: 3)
    return one
  }

  @Test func `a wrong count of query numbers or positions`() {
    var one = Self.plain()
    let width = one.layer.shape.key.width
    one.queries.values.removeLast()
    #expect(message { _ = try one.attend() } == "\(3 * width - 1) query numbers for 3 queries of \(width)")
    one.queries.count = .max
    #expect(message { _ = try one.attend() }.contains("query numbers"))
    one = Self.plain()
    one.queries.positions = [1, 2]
    #expect(message { _ = try one.attend() } == "2 positions for 3 queries")
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `a query that is not finite, naming the row`(_ bad: Float) {
    var one = Self.plain()
    one.queries.values[one.layer.shape.key.width + 1] = bad
    #expect(message { _ = try one.attend() } == "query at row 1 holds \(bad) at 1")
  }

  @Test(arguments: [-1, 11, Int.max, Int.min])
  func `a position beyond the history`(_ position: Int) {
    var one = Self.plain()
    one.queries.positions = [10, 0, position]
    #expect(message { _ = try one.attend() } == "position \(position) at row 2 is beyond the history's length 10")
  }

  @Test(arguments: [Float.nan, .infinity, 0, -1])
  func `a scale that is not a finite number above zero`(_ scale: Float) {
    var one = Self.plain()
    one.queries.scale = scale
    #expect(message { _ = try one.attend() }.hasPrefix("a scale of \(scale)"))
  }

  @Test(arguments: [0, -1, Int.min])
  func `a window below one position`(_ window: Int) {
    var one = Self.plain()
    one.queries.window = window
    #expect(message { _ = try one.attend() }.hasPrefix("a window of \(window) positions"))
  }

  @Test func `a key-only layer`() {
    let one = Case(seed: 2, LayerPlan(isKeyOnly: true))
    #expect(message { _ = try one.attend() }.contains("key-only"))
  }

  @Test(arguments: StageMask.allCases)
  func `a stage's queries that are not one per new position, or bring positions`(_ mask: StageMask) {
    var one = Self.plain()
    func text(_ storedCount: Int) -> String {
      message {
        _ = try AttentionFunction.softmax.attend(
          one.queries, mask: mask, storedCount: storedCount, one.entries, count: 10, shape: one.layer.shape,
          tensors: one.layer.tensors)
      }
    }
    #expect(text(7) == "no invalidInput")
    #expect(text(6) == "3 queries for 4 new positions")
    one.queries.positions = [1, 1, 1]
    #expect(text(7).contains("positions"))
  }
}
