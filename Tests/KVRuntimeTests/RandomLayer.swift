/// A random layer with entries, and what its keys, values and attention are in 64-bit floats, by the definitions alone.

import CacheTypes
import KVRuntime

/// What a random layer is to look like. `nil` leaves it to chance.
struct LayerPlan {
  var isAdditive: Bool?
  var userWidths: (key: Int, value: Int)?
  var isInterned = false
  var sharesRouter: Bool?
  var heads: Int?
  var poolElement: ElementType?
  var poolRows: Int?
  var isKeyOnly = false
  var isDyadic = false
}

struct RandomLayer {
  var shape: LayerShape
  var tensors: LayerTensors

  init(_ draw: inout Draw, embeddingWidth: Int = 8, _ plan: LayerPlan = LayerPlan()) {
    let heads = plan.heads ?? [1, 2, 4, 8].randomElement(using: &draw)!
    let sharesRouter = plan.sharesRouter ?? Bool.random(using: &draw)
    let element = plan.poolElement ?? [.f32, .f16, .bf16].randomElement(using: &draw)!
    let keyRows = plan.poolRows ?? Int.random(in: 1...90, using: &draw)
    let valueRows = sharesRouter ? keyRows : plan.poolRows ?? Int.random(in: 1...90, using: &draw)
    let key = Self.part(
      &draw, embeddingWidth, heads, element, keyRows, plan.userWidths?.key, plan, hasRouter: !plan.isInterned)
    let value =
      plan.isKeyOnly
      ? nil
      : Self.part(
        &draw, embeddingWidth, heads, element, valueRows, plan.userWidths?.value, plan, hasRouter: !sharesRouter)
    shape = LayerShape(key: key.0, value: value?.0, heads: heads)
    tensors = LayerTensors(key: key.1, value: value?.1)
  }

  private static func part(
    _ draw: inout Draw, _ embeddingWidth: Int, _ heads: Int, _ element: ElementType, _ rows: Int, _ userWidth: Int?,
    _ plan: LayerPlan, hasRouter: Bool
  ) -> (PartShape, PartTensors) {
    func numbers(_ count: Int, _ bound: Float = 1) -> [Float] {
      plan.isDyadic ? draw.dyadic(count) : draw.numbers(count, bound)
    }
    let userWidth = userWidth ?? Int.random(in: 0...9, using: &draw)
    let isAdditive = (plan.isAdditive ?? Bool.random(using: &draw)) && userWidth > 0
    // The full width is a multiple of the heads; in the concatenated form the pool's may come out as 0.
    let smallest = isAdditive || userWidth == 0 ? 1 : (userWidth + heads - 1) / heads
    let width = heads * Int.random(in: smallest...smallest + 24, using: &draw)
    let poolWidth = isAdditive ? width : width - userWidth
    let shape = PartShape(
      userWidth: userWidth, poolWidth: poolWidth, poolRows: rows, isAdditive: isAdditive, hasRouter: hasRouter)
    func weights(_ outputs: Int) -> (Tensor, Tensor) {
      (
        Tensor(numbers(outputs * embeddingWidth), shape: [outputs, embeddingWidth]),
        Tensor(numbers(outputs), shape: [outputs])
      )
    }
    let projection = userWidth > 0 ? weights(userWidth) : nil
    let router = hasRouter ? weights(rows) : nil
    let tensors = PartTensors(
      projectionWeight: projection?.0, projectionBias: projection?.1, routerWeight: router?.0, routerBias: router?.1,
      pool: Tensor.of(numbers(rows * poolWidth, 2), [rows, poolWidth], element, shift: plan.isDyadic ? 0 : 2),
      basis: isAdditive ? Tensor(numbers(poolWidth * userWidth), shape: [poolWidth, userWidth]) : nil)
    return (shape, tensors)
  }

  func entries(_ draw: inout Draw, count: Int, isDyadic: Bool = false) -> LayerEntries {
    func numbers(_ count: Int) -> [Float] { isDyadic ? draw.dyadic(count) : draw.numbers(count) }
    return LayerEntries(
      keyIndices: draw.rows(count, below: shape.key.poolRows),
      valueIndices: shape.storesValueIndices ? draw.rows(count, below: shape.value!.poolRows) : [],
      keyUser: numbers(shape.key.userWidth * count),
      valueUser: numbers((shape.value?.userWidth ?? 0) * count))
  }
}

/// The definitions, in 64-bit floats.
enum Definition {
  static func keys(_ layer: RandomLayer, _ entries: LayerEntries, _ count: Int) -> [[Double]] {
    full(layer.shape.key, layer.tensors.key, entries.keyIndices, entries.keyUser, count)
  }

  static func values(_ layer: RandomLayer, _ entries: LayerEntries, _ count: Int) -> [[Double]] {
    full(
      layer.shape.value!, layer.tensors.value!, layer.shape.sharesRouter ? entries.keyIndices : entries.valueIndices,
      entries.valueUser, count)
  }

  private static func full(
    _ shape: PartShape, _ tensors: PartTensors, _ indices: [UInt32], _ user: [Float], _ count: Int
  ) -> [[Double]] {
    let pool = tensors.pool.floats()
    let basis = tensors.basis?.floats() ?? []
    return (0..<count).map { position in
      let start = Int(indices[position]) * shape.poolWidth
      let row = pool[start..<start + shape.poolWidth].map(Double.init)
      let own = (0..<shape.userWidth).map { Double(user[$0 * count + position]) }
      if !shape.isAdditive { return own + row }
      return row.enumerated().map { column, value in
        value + own.enumerated().reduce(0) { $0 + Double(basis[column * shape.userWidth + $1.offset]) * $1.element }
      }
    }
  }

  static func attend(
    _ query: ArraySlice<Float>, _ keys: [[Double]], _ values: [[Double]], heads: Int, seen: [Int], scale: Float?
  ) -> [Double] {
    let (keyWidth, valueWidth) = (query.count / heads, values[0].count / heads)
    let query = query.map(Double.init)
    let factor = scale.map(Double.init) ?? 1 / Double(keyWidth).squareRoot()
    var output = [Double](repeating: 0, count: values[0].count)
    guard !seen.isEmpty else { return output }
    for head in 0..<heads {
      let columns = head * keyWidth..<(head + 1) * keyWidth
      let scores = seen.map { position in factor * columns.reduce(0) { $0 + query[$1] * keys[position][$1] } }
      let greatest = scores.max()!
      let weights = scores.map { exponential($0 - greatest) }
      let sum = weights.reduce(0, +)
      for (position, weight) in zip(seen, weights) {
        for column in head * valueWidth..<(head + 1) * valueWidth {
          output[column] += weight / sum * values[position][column]
        }
      }
    }
    return output
  }
}

/// The greatest difference from what is wanted, as a share of the greatest wanted number.
func difference(_ seen: ArraySlice<Float>, _ wanted: [Double]) -> Double {
  guard seen.count == wanted.count else { return .infinity }
  let scale = max(wanted.map(abs).max() ?? 0, 1e-3)
  return zip(seen, wanted).reduce(0) { worst, pair in
    let distance = abs(Double(pair.0) - pair.1) / scale
    return distance.isNaN ? .infinity : max(worst, distance)
  }
}
