import CacheTypes
import Dispatch
import KVRuntime
import Testing

extension AttentionFunction {
  fileprivate var rotations: HashRotations? {
    switch self {
    case .simhash(_, let rotations), .sdim(let rotations, _): rotations
    default: nil
    }
  }

  fileprivate func with(_ rotations: HashRotations) -> AttentionFunction {
    switch self {
    case .simhash(let top, _): .simhash(top: top, rotations: rotations)
    case .sdim(_, let isNormalised): .sdim(rotations: rotations, isNormalised: isNormalised)
    default: self
    }
  }
}

extension FunctionCase {
  /// The same with rotations that come with the model.
  fileprivate func kept(_ budget: HashTableBudget = HashTableBudget(byteLimit: 1 << 24)) throws -> FunctionCase {
    let own = function.rotations!
    var kept = self
    kept.function = function.with(
      try HashRotations(
        values: own.values, groups: own.groups, bits: own.bits, keys: layer.shape.key, layer.tensors.key,
        budget: budget))
    return kept
  }
}

@Suite struct `Tables of a model's rotations` {
  static let names: [FunctionName] = [.simhash, .sdim, .sdimSum]

  /// Calls until there is a table, and one more; whether there was one in the end.
  static func expectSameBits(_ one: FunctionCase, _ kept: FunctionCase, _ place: String) throws -> Bool {
    let wanted = bits(try one.attend())
    let calls = one.layer.shape.key.poolRows + 2
    for call in 0..<calls {
      #expect(bits(try kept.attend()) == wanted, "\(place), call \(call)")
      if kept.function.rotations!.hasTable { break }
    }
    #expect(bits(try kept.attend()) == wanted, "\(place), in the end")
    return kept.function.rotations!.hasTable
  }

  @Test(arguments: names, 0..<24)
  func `outputs are the same bits with a table and without`(_ name: FunctionName, _ seed: Int) throws {
    var plan = LayerPlan()
    plan.userWidths = [(0, 2), (1, 0), (5, 3), nil][seed / 4 % 4]
    // Above and below a quarter of the pool, where rows in use are listed and where they are not.
    plan.poolRows = [3, 40, 400, 900][seed / 2 % 4]
    let one = FunctionCase(seed: seed, name, count: [7, 60, 200][seed % 3], top: 5, plan)
    let kept = try one.kept()
    let hasTable = try Self.expectSameBits(one, kept, "\(name), seed \(seed), \(one.layer.shape)")
    let isHashed = (0..<one.queries.count).contains {
      let seen = min(one.queries.positions?[$0] ?? one.count, one.queries.window ?? .max)
      return name == .simhash ? seen > 5 : seen > 0
    }
    #expect(hasTable == isHashed, "\(name), seed \(seed)")
  }

  @Test(arguments: names)
  func `an interned layer keeps codes of items`(_ name: FunctionName) throws {
    var plan = LayerPlan(isInterned: true, sharesRouter: false, poolRows: 700)
    plan.userWidths = (0, 0)
    for seed in 0..<4 {
      var one = FunctionCase(seed: seed, name, count: 50, top: 9, plan)
      one.queries.positions = nil
      one.queries.window = nil
      // A code is eight bytes for each 64 bits.
      let words = (one.function.rotations!.groups * one.function.rotations!.bits + 63) / 64
      let kept = try one.kept(HashTableBudget(byteLimit: 700 * 8 * words))
      #expect(try Self.expectSameBits(one, kept, "\(name), seed \(seed)"))
    }
  }

  @Test(arguments: names)
  func `a table that the budget does not hold is not made, and one that it holds takes its bytes`(
    _ name: FunctionName
  ) throws {
    var plan = LayerPlan(poolRows: 20)
    plan.userWidths = (2, 2)
    var one = FunctionCase(seed: 1, name, count: 60, top: 5, plan)
    one.queries.positions = nil
    one.queries.window = nil
    let rotations = one.function.rotations!
    let byteCount = 20 * ((rotations.groups * rotations.bits + 15) / 16 * 16 * 4)
    let budget = HashTableBudget(byteLimit: 2 * byteCount - 1)
    #expect(try Self.expectSameBits(one, one.kept(budget), "\(name)"))
    #expect(try !Self.expectSameBits(one, one.kept(budget), "\(name)"))
  }

  @Test(arguments: names, [StageMask.causal, .historyAndSelf])
  func `stages go through tables too`(_ name: FunctionName, _ mask: StageMask) throws {
    for seed in 0..<6 {
      let one = FunctionCase(seed: seed, name, count: 90, queries: 9, top: 5)
      let kept = try one.kept()
      let wanted = bits(try one.staged(9, of: 90, mask))
      for _ in 0..<3 { #expect(bits(try kept.staged(9, of: 90, mask)) == wanted, "\(name), seed \(seed)") }
    }
  }

  @Test(arguments: names)
  func `threads that meet while a table is made get the same bits`(_ name: FunctionName) throws {
    let one = FunctionCase(seed: 6, name, count: 120, top: 7, LayerPlan(poolRows: 90))
    let wanted = bits(try one.attend())
    for _ in 0..<10 {
      let kept = try one.kept()
      let outputs = SharedOutputs(count: 16)
      DispatchQueue.concurrentPerform(iterations: 16) { outputs.set($0, bits((try? kept.attend()) ?? [])) }
      #expect(outputs.all.allSatisfy { $0 == wanted })
    }
  }

  @Test func `rotations that no call may bring are refused when they are kept`() throws {
    let one = FunctionCase(seed: 1, .simhash)
    let key = one.layer.shape.key
    #expect(
      message {
        _ = try HashRotations(
          values: [Float](repeating: .nan, count: key.width), groups: 1, bits: 1, keys: key, one.layer.tensors.key,
          budget: HashTableBudget(byteLimit: 0))
      } == "rotation 0 holds nan at 0")
  }
}

/// What each thread found.
private final class SharedOutputs: @unchecked Sendable {
  private let lock = DispatchSemaphore(value: 1)
  private var outputs: [[UInt32]]

  init(count: Int) { outputs = Array(repeating: [], count: count) }

  func set(_ place: Int, _ output: [UInt32]) {
    lock.wait()
    outputs[place] = output
    lock.signal()
  }

  var all: [[UInt32]] { outputs }
}
