/// A random layer, a history, queries, and an attention function with everything it needs.

import CacheTypes
import KVRuntime

/// The names of the functions, as tests go through them.
enum FunctionName: CaseIterable {
  case softmax, topk, selectSame, selectOther, selectKeyOnly, simhash, sdim, sdimSum, silu, siluBias
}

struct FunctionCase {
  var layer: RandomLayer
  var entries: LayerEntries
  let count: Int
  var queries: AttentionQueries
  var function: AttentionFunction
  private let searchLayer: RandomLayer
  private let searchEntries: LayerEntries

  init(
    seed: Int, _ name: FunctionName, count: Int? = nil, queries queryCount: Int = 3, top: Int? = nil,
    _ plan: LayerPlan = LayerPlan()
  ) {
    var draw = Draw(seed &* 31 &+ FunctionName.allCases.firstIndex(of: name)!)
    let count = count ?? [1, 2, 5, 17, 40, 90, 150, 333][seed % 8]
    let layer = RandomLayer(&draw, plan)
    let entries = layer.entries(&draw, count: count, isDyadic: plan.isDyadic)
    func numbers(_ count: Int, _ bound: Float = 1) -> [Float] {
      plan.isDyadic ? draw.dyadic(count) : draw.numbers(count, bound)
    }
    queries = AttentionQueries(values: numbers(queryCount * layer.shape.key.width), count: queryCount)
    if Bool.random(using: &draw) {
      queries.positions = (0..<queryCount).map { _ in Int.random(in: 0...count, using: &draw) }
    }
    if Bool.random(using: &draw) { queries.window = Int.random(in: 1...count + 2, using: &draw) }
    if Bool.random(using: &draw) { queries.scale = Float.random(in: 0.05...1, using: &draw) }
    var other = plan
    other.isKeyOnly = name == .selectKeyOnly
    if name == .selectSame {
      (searchLayer, searchEntries) = (layer, entries)
    } else {
      searchLayer = RandomLayer(&draw, other)
      searchEntries = searchLayer.entries(&draw, count: count, isDyadic: plan.isDyadic)
    }
    let width = layer.shape.key.width
    let top = top ?? Int.random(in: 1...count + 1, using: &draw)
    switch name {
    case .softmax: function = .softmax
    case .topk: function = .topk(top: top)
    case .selectSame, .selectOther, .selectKeyOnly:
      let search = Search(
        shape: searchLayer.shape.key, tensors: searchLayer.tensors.key, entries: searchEntries,
        queries: numbers(queryCount * searchLayer.shape.key.width))
      function = .select(top: top, search: search)
    case .simhash:
      let bits = [1, 16, 64, 70][seed % 4]
      function = .simhash(top: top, rotations: HashRotations(values: numbers(bits * width), bits: bits))
    case .sdim, .sdimSum:
      let (groups, bits) = [(8, 4), (1, 1), (3, 2), (2, 65)][seed % 4]
      function = .sdim(
        rotations: HashRotations(values: numbers(groups * bits * width), groups: groups, bits: bits),
        isNormalised: name == .sdim)
    case .silu, .siluBias:
      function = .silu(divisor: [300, 0.5, -2][seed % 3], bias: name == .siluBias ? numbers(count + 1) : nil)
    }
    self.layer = layer
    self.entries = entries
    self.count = count
  }

  var width: Int { layer.shape.value!.width }

  func attend() throws -> [Float] {
    try function.attend(queries, entries, count: count, shape: layer.shape, tensors: layer.tensors)
  }

  func query(_ row: Int) -> ArraySlice<Float> {
    let width = layer.shape.key.width
    return queries.values[row * width..<(row + 1) * width]
  }

  var definition: FunctionDefinition {
    FunctionDefinition(
      function,
      FullHistory(
        keys: Definition.keys(layer, entries, count), values: Definition.values(layer, entries, count),
        searchKeys: Definition.keys(searchLayer, searchEntries, count), heads: layer.shape.heads),
      scale: queries.scale)
  }

  /// The case's first queries alone, in another order or without their like.
  func only(_ rows: [Int]) -> FunctionCase {
    var some = self
    let width = layer.shape.key.width
    some.queries.values = rows.flatMap { queries.values[$0 * width..<($0 + 1) * width] }
    some.queries.count = rows.count
    some.queries.positions = queries.positions.map { positions in rows.map { positions[$0] } }
    if case .select(let top, var search) = function {
      let width = search.shape.width
      search.queries = rows.flatMap { search.queries[$0 * width..<($0 + 1) * width] }
      some.function = .select(top: top, search: search)
    }
    return some
  }

  /// The last `newCount` positions of the first `count` as a stage's new ones, a query each.
  func staged(_ newCount: Int, of count: Int, _ mask: StageMask) throws -> [Float] {
    var some = only(Array(0..<newCount))
    some.queries.positions = nil
    if case .select(let top, var search) = some.function {
      search.entries = search.entries.firstKeys(count, of: self.count)
      some.function = .select(top: top, search: search)
    }
    return try some.function.attend(
      some.queries, mask: mask, storedCount: count - newCount, entries.first(count, of: self.count), count: count,
      shape: layer.shape, tensors: layer.tensors)
  }
}

extension LayerEntries {
  /// The key columns of the first `length` of `count` positions.
  func firstKeys(_ length: Int, of count: Int) -> LayerEntries {
    LayerEntries(
      keyIndices: Array(keyIndices.prefix(length)),
      keyUser: (0..<(count == 0 ? 0 : keyUser.count / count)).flatMap { keyUser[$0 * count..<$0 * count + length] })
  }
}
