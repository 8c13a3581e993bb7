/// What every attention function is, in 64-bit floats over full keys and values, by the definitions alone.

import CacheTypes
import KVRuntime

/// Full keys and values of one history, and of the layer that is searched.
struct FullHistory {
  var keys: [[Double]]
  var values: [[Double]]
  var searchKeys: [[Double]] = []
  var heads: Int
}

struct FunctionDefinition {
  let function: AttentionFunction
  let full: FullHistory
  var scale: Double?
  /// The least distance between a score that was kept and one that was not, or between a hashed number and 0: below
  /// the rounding of 32 bits nobody can say which way a selection goes.
  private(set) var margin = Double.infinity
  /// Hash codes of all keys, once they are needed.
  private var codes: [[Bool]]?

  init(_ function: AttentionFunction, _ full: FullHistory, scale: Float?) {
    self.function = function
    self.full = full
    self.scale = scale.map(Double.init)
  }

  /// The output of query `row` over the positions `seen`, the latest last.
  mutating func attend(_ row: Int, _ query: ArraySlice<Float>, seen: [Int]) -> [Double] {
    let query = query.map(Double.init)
    var output = [Double](repeating: 0, count: full.values.first?.count ?? 0)
    guard !seen.isEmpty else { return output }
    if case .sdim(let rotations, let isNormalised) = function {
      return buckets(rotations, isNormalised, query, seen)
    }
    let kept = keptForAllHeads(row, query, seen)
    let keyWidth = query.count / full.heads
    let valueWidth = output.count / full.heads
    let factor = scale ?? 1 / Double(keyWidth).squareRoot()
    for head in 0..<full.heads {
      let columns = head * keyWidth..<(head + 1) * keyWidth
      func dot(_ position: Int) -> Double { Self.dot(query[columns], full.keys[position][columns]) }
      var positions = kept
      if case .topk(let top) = function { positions = recent(top, seen.map { (dot($0), $0) }) }
      let scores = positions.map { factor * dot($0) }
      for (position, weight) in zip(positions, weights(scores)) {
        for column in head * valueWidth..<(head + 1) * valueWidth {
          output[column] += weight * full.values[position][column]
        }
      }
    }
    return output
  }

  private func weights(_ scores: [Double]) -> [Double] {
    if case .silu(let divisor, let bias) = function {
      return scores.enumerated().map { place, score in
        let score = score + (bias.map { Double($0[scores.count - 1 - place]) } ?? 0)
        return score / (1 + exponential(-score)) / Double(divisor)
      }
    }
    let greatest = scores.max()!
    let weights = scores.map { exponential($0 - greatest) }
    let sum = weights.reduce(0, +)
    return weights.map { $0 / sum }
  }

  private mutating func keptForAllHeads(_ row: Int, _ query: [Double], _ seen: [Int]) -> [Int] {
    switch function {
    case .select(let top, let search):
      let width = search.shape.width
      let wanted = search.queries[row * width..<(row + 1) * width].map(Double.init)
      return recent(top, seen.map { (Self.dot(wanted, full.searchKeys[$0]), $0) })
    case .simhash(let top, let rotations):
      let own = signs(rotations, query)
      let codes = keyCodes(rotations)
      return recent(top, seen.map { (-Self.distance(codes[$0], own), $0) }, isExact: true)
    case .softmax, .topk, .sdim, .silu: return seen
    }
  }

  /// The positions of the `top` greatest scores, ascending; of equal scores the later one wins.
  private mutating func recent(_ top: Int, _ scores: [(score: Double, position: Int)], isExact: Bool = false) -> [Int] {
    let sorted = scores.sorted { ($0.score, $0.position) > ($1.score, $1.position) }
    if !isExact, sorted.count > top {
      let gap = sorted[top - 1].score - sorted[top].score
      if gap != 0 { margin = min(margin, gap) }
    }
    return sorted.prefix(top).map(\.position).sorted()
  }

  private mutating func buckets(
    _ rotations: HashRotations, _ isNormalised: Bool, _ query: [Double], _ seen: [Int]
  ) -> [Double] {
    var output = [Double](repeating: 0, count: full.values[0].count)
    let own = signs(rotations, query)
    let all = keyCodes(rotations)
    let codes = seen.map { all[$0] }
    for group in 0..<rotations.groups {
      let bits = group * rotations.bits..<(group + 1) * rotations.bits
      var sum = [Double](repeating: 0, count: output.count)
      for (position, code) in zip(seen, codes) where code[bits] == own[bits] {
        for column in sum.indices { sum[column] += full.values[position][column] }
      }
      let length = Self.dot(sum, sum).squareRoot()
      let factor = isNormalised && length > 0 ? 1 / length : 1
      for column in sum.indices { output[column] += sum[column] * factor / Double(rotations.groups) }
    }
    return output
  }

  private mutating func keyCodes(_ rotations: HashRotations) -> [[Bool]] {
    if let codes { return codes }
    let made = full.keys.map { signs(rotations, $0) }
    codes = made
    return made
  }

  private mutating func signs(_ rotations: HashRotations, _ vector: [Double]) -> [Bool] {
    (0..<rotations.groups * rotations.bits).map { row in
      var number = 0.0
      for column in 0..<vector.count {
        number += Double(rotations.values[row * vector.count + column]) * vector[column]
      }
      if number != 0 { margin = min(margin, abs(number)) }
      return number > 0
    }
  }

  private static func dot(_ a: some Collection<Double>, _ b: some Collection<Double>) -> Double {
    var sum = 0.0
    for (x, y) in zip(a, b) { sum += x * y }
    return sum
  }
  private static func distance(_ a: [Bool], _ b: [Bool]) -> Double { Double(zip(a, b).count { $0 != $1 }) }
}
