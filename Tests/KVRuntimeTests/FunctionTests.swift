import CKernels
import CacheTypes
import KVRuntime
import Testing

@Suite struct `Attention functions` {
  /// What query `row` sees if `length` positions exist for it.
  static func seen(_ length: Int, _ window: Int?) -> Range<Int> { max(0, length - (window ?? length))..<length }

  static func check(_ one: FunctionCase, _ place: String, isExact: Bool = false) throws {
    let output = try one.attend()
    var definition = one.definition
    #expect(output.count == one.queries.count * one.width)
    for row in 0..<one.queries.count {
      let range = seen(one.queries.positions?[row] ?? one.count, one.queries.window)
      let wanted = definition.attend(row, one.query(row), seen: Array(range))
      let distance = difference(output[row * one.width..<(row + 1) * one.width], wanted)
      // Numbers that are not exact may lie so close that rounding decides.
      #expect(distance < 1e-5 || (!isExact && definition.margin < 1e-5), "\(place), query \(row), \(one.layer.shape)")
    }
  }

  @Test(arguments: FunctionName.allCases, 0..<24)
  func `outputs agree with the definition in 64 bits`(_ name: FunctionName, _ seed: Int) throws {
    try Self.check(FunctionCase(seed: seed, name), "\(name), seed \(seed)")
  }

  @Test(arguments: FunctionName.allCases, 0..<24)
  func `exact numbers with many ties select what the definition selects`(_ name: FunctionName, _ seed: Int) throws {
    var plan = LayerPlan(isDyadic: true)
    plan.userWidths = [(0, 0), (1, 2), (3, 0), nil][seed % 4]
    plan.poolRows = [2, 5, 40][seed % 3]
    let one = FunctionCase(seed: seed, name, count: [30, 60, 200][seed / 3 % 3], top: 1 + seed % 25, plan)
    try Self.check(one, "\(name), seed \(seed)", isExact: true)
  }

  @Test(arguments: FunctionName.allCases, [1, 2, 4, 8])
  func `every pool type, form and head count`(_ name: FunctionName, _ heads: Int) throws {
    for element in [ElementType.f32, .f16, .bf16] {
      for isAdditive in [false, true] {
        for (count, rows) in [(9, 80), (60, 20)] {
          let plan = LayerPlan(
            isAdditive: isAdditive, userWidths: (5, 3), heads: heads, poolElement: element, poolRows: rows)
          try Self.check(
            FunctionCase(seed: heads, name, count: count, top: 7, plan), "\(name), \(element), \(isAdditive), \(count)")
        }
      }
    }
  }

  @Test(arguments: FunctionName.allCases)
  func `an interned layer with a pool far longer than the history`(_ name: FunctionName) throws {
    for sharesRouter in [true, false] {
      let plan = LayerPlan(isInterned: true, sharesRouter: sharesRouter, poolRows: 4000)
      try Self.check(FunctionCase(seed: 4, name, count: 50, plan), "\(name)")
    }
  }

  @Test(arguments: FunctionName.allCases, 0..<12)
  func `a query's bits do not depend on the other queries`(_ name: FunctionName, _ seed: Int) throws {
    let one = FunctionCase(seed: seed, name)
    let output = try one.attend()
    for row in 0..<one.queries.count {
      #expect(
        bits(try one.only([row]).attend()) == bits(Array(output[row * one.width..<(row + 1) * one.width])), "\(name)")
    }
  }

  @Test(arguments: [FunctionName.topk, .selectSame, .selectOther, .selectKeyOnly, .simhash], 0..<8)
  func `a top of as many positions as there are, or more, is softmax`(_ name: FunctionName, _ seed: Int) throws {
    for extra in [0, 1, Int.max - 1_000] {
      var one = FunctionCase(seed: seed, name)
      one = FunctionCase(seed: seed, name, top: one.count + extra)
      var all = one
      all.function = .softmax
      #expect(bits(try one.attend()) == bits(try all.attend()))
    }
  }

  @Test(arguments: FunctionName.allCases)
  func `an empty range and an empty history give zeros`(_ name: FunctionName) throws {
    var one = FunctionCase(seed: 3, name, count: 20, top: 4)
    one.queries.positions = [0, 5, 0]
    let output = try one.attend()
    #expect(output.prefix(one.width).allSatisfy { $0 == 0 } && output.suffix(one.width).allSatisfy { $0 == 0 })
    if name != .sdim && name != .sdimSum { #expect(output.contains { $0 != 0 }) }
    #expect(try FunctionCase(seed: 3, name, count: 0, top: 4).attend().allSatisfy { $0 == 0 })
    #expect(try one.only([]).attend() == [])
  }

  // MARK: Stages

  @Test(arguments: FunctionName.allCases, 0..<12)
  func `causal queries of a stage are as-of queries of what is stored, bit for bit`(
    _ name: FunctionName, _ seed: Int
  ) throws {
    let newCount = [1, 4, 9][seed % 3]
    let one = FunctionCase(seed: seed, name, count: [9, 30, 200][seed / 3 % 3], queries: newCount)
    for storedCount in [0, one.count - newCount] {
      let count = storedCount + newCount
      var asOf = one
      asOf.queries.positions = (0..<newCount).map { storedCount + $0 + 1 }
      #expect(
        bits(try one.staged(newCount, of: count, .causal)) == bits(try asOf.attend()), "\(name), \(storedCount) stored")
    }
  }

  @Test(arguments: FunctionName.allCases, 0..<12)
  func `candidates of a stage see the history and themselves`(_ name: FunctionName, _ seed: Int) throws {
    let one = FunctionCase(seed: seed, name, count: [9, 30, 200][seed / 3 % 3], queries: 5)
    let storedCount = seed % 4 == 0 ? 0 : one.count - 5
    let output = try one.staged(5, of: storedCount + 5, .historyAndSelf)
    var definition = one.definition
    for row in 0..<5 {
      let range = Self.seen(storedCount + 1, one.queries.window)
      let wanted = definition.attend(
        row, one.query(row), seen: Array(range.dropLast()) + [storedCount + row])
      let distance = difference(output[row * one.width..<(row + 1) * one.width], wanted)
      #expect(distance < 1e-5 || definition.margin < 1e-5, "\(name), query \(row)")
    }
    // The first candidate's output is that of a causal stage, bit for bit.
    let causal = try one.staged(1, of: storedCount + 1, .causal)
    #expect(bits(causal) == bits(Array(output.prefix(one.width))))
  }
}

/// Forces a level for the whole process. Other suites do not mind, since results are the same bits.
extension `Encoder at every level` {
  @Test(arguments: FunctionName.allCases, 0..<16)
  func `attention functions are the same bits at every level`(_ name: FunctionName, _ seed: Int) throws {
    let one = FunctionCase(seed: seed, name)
    var outputs: [[UInt32]] = []
    for level in Level.all {
      #expect(ckv_kernels_force(level.number))
      outputs.append(bits(try one.attend()))
    }
    _ = ckv_kernels_force(-1)
    #expect(outputs.allSatisfy { $0 == outputs[0] }, "\(name)")
  }
}

@Suite struct `What attention functions refuse` {
  static func plain(_ name: FunctionName) -> FunctionCase {
    var one = FunctionCase(seed: 1, name, count: 10, top: 3)
    one.queries = AttentionQueries(values: one.queries.values, count: 3)
    return one
  }

  func refused(_ name: FunctionName, _ function: (FunctionCase) -> AttentionFunction) -> String {
    var one = Self.plain(name)
    one.function = function(one)
    return message { _ = try one.attend() }
  }

  @Test(arguments: [0, -1, Int.min])
  func `a top below one position`(_ top: Int) {
    for name in [FunctionName.topk, .selectSame, .simhash] {
      let text = refused(name) { one in
        switch one.function {
        case .topk: .topk(top: top)
        case .select(_, let search): .select(top: top, search: search)
        case .simhash(_, let rotations): .simhash(top: top, rotations: rotations)
        default: .softmax
        }
      }
      #expect(text == "a top of \(top) positions; at least 1 is needed")
    }
  }

  @Test(arguments: [Float.nan, .infinity, 0])
  func `a divisor that is zero or not finite`(_ divisor: Float) {
    #expect(
      refused(.silu) { _ in .silu(divisor: divisor, bias: nil) }
        == "a divisor of \(divisor); a finite number other than 0 is needed")
  }

  @Test func `a position bias that is too short or not finite`() {
    #expect(
      refused(.siluBias) { _ in .silu(divisor: 1, bias: Array(repeating: 0, count: 9)) }
        == "9 position biases for a query that sees 10 positions")
    #expect(
      refused(.siluBias) { _ in .silu(divisor: 1, bias: Array(repeating: 0, count: 10) + [.nan]) }
        == "the position bias holds nan at 10")
    // As long as the longest range is enough.
    #expect(
      refused(.siluBias) { _ in .silu(divisor: 1, bias: Array(repeating: 0, count: 10)) } == "no invalidInput")
  }

  @Test func `rotations that do not fit the keys`() {
    let width = Self.plain(.simhash).layer.shape.key.width
    func simhash(_ rotations: HashRotations) -> String {
      refused(.simhash) { _ in .simhash(top: 2, rotations: rotations) }
    }
    #expect(simhash(HashRotations(values: [1], bits: 3)).hasPrefix("1 numbers for 1 groups of 3 rotations of \(width)"))
    #expect(simhash(HashRotations(values: [], bits: 0)).hasPrefix("1 groups of 0 rotations"))
    #expect(simhash(HashRotations(values: [], groups: -1, bits: 1)).hasPrefix("-1 groups of 1 rotations"))
    #expect(simhash(HashRotations(values: [], groups: .max, bits: .max)).hasPrefix("0 numbers for"))
    let two = HashRotations(values: Array(repeating: 1, count: 2 * width), groups: 2, bits: 1)
    #expect(simhash(two) == "2 groups of rotations; simhash takes one")
    var values = Array(repeating: Float(1), count: 2 * width)
    values[width + 1] = .infinity
    #expect(simhash(HashRotations(values: values, bits: 2)) == "rotation 1 holds inf at 1")
  }

  @Test func `search queries that are not one per query, or not finite`() {
    func select(_ change: @escaping (inout Search) -> Void) -> String {
      refused(.selectKeyOnly) { one in
        guard case .select(let top, var search) = one.function else { return .softmax }
        change(&search)
        return .select(top: top, search: search)
      }
    }
    guard case .select(_, let search) = Self.plain(.selectKeyOnly).function else { return }
    let width = search.shape.width
    #expect(
      select { $0.queries.removeLast() } == "\(3 * width - 1) search query numbers for 3 queries of \(width)")
    #expect(select { $0.queries[width] = .nan } == "search query at row 1 holds nan at 0")
  }

  @Test(arguments: FunctionName.allCases)
  func `a query that is not finite, and scores that 32 bits do not hold`(_ name: FunctionName) {
    var one = Self.plain(name)
    one.queries.values[one.layer.shape.key.width] = .infinity
    #expect(message { _ = try one.attend() } == "query at row 1 holds inf at 0")
    guard name != .sdim && name != .sdimSum && name != .selectOther && name != .selectKeyOnly && name != .simhash else {
      return
    }
    one = Self.plain(name)
    one.queries.values = one.queries.values.map { _ in .greatestFiniteMagnitude }
    if case .select(let top, var search) = one.function {
      search.queries = search.queries.map { _ in .greatestFiniteMagnitude }
      one.function = .select(top: top, search: search)
    }
    #expect(message { _ = try one.attend() } == "query at row 0: a score is beyond what 32-bit floats hold")
  }

  @Test(arguments: FunctionName.allCases)
  func `a key-only layer`(_ name: FunctionName) {
    var one = Self.plain(name)
    one.layer = RandomLayer(keysOf: one.layer)
    one.entries = LayerEntries(keyIndices: one.entries.keyIndices, keyUser: one.entries.keyUser)
    #expect(message { _ = try one.attend() }.contains("key-only"))
  }
}

extension RandomLayer {
  /// The keys of a layer alone.
  fileprivate init(keysOf layer: RandomLayer) {
    self = layer
    shape.value = nil
    tensors = LayerTensors(key: layer.tensors.key, value: nil)
  }
}
