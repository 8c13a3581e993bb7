/// Coefficients that explain what was measured: least squares of relative errors, none below zero, of times and, since
/// choices hang on those, of the differences between a shape's ways. Costs are linear in their coefficients, so a
/// coefficient's share in a way is what the way costs when that coefficient is 1 and all others are 0.

import KVRuntime

struct Fit {
  private let one: [Double]
  private let group: [Double]
  private let block: [Double]
  private let errors: [Double]
  private let tile: Int

  init(_ samples: [Sample], tile: Int) {
    self.tile = tile
    func unit(_ count: Int, _ place: Int) -> [Double] { (0..<count).map { $0 == place ? 1 : 0 } }
    let zero = AttentionCosts(
      one: QueryCosts(numbers: unit(QueryCosts.count, -1)), group: QueryCosts(numbers: unit(QueryCosts.count, -1)),
      block: BlockCosts(numbers: unit(BlockCosts.count, -1)), tile: tile)
    func solve(
      _ count: Int, _ heads: Int?, calls: [Int: Double]? = nil, _ costs: (Int) -> AttentionCosts
    ) -> (numbers: [Double], error: Double, call: Double) {
      let isBlock = calls != nil
      var rows: [Row] = []
      for sample in samples where heads == nil || sample.shape.heads == heads {
        let ways = sample.times.filter { $0.way.forced.isSideBySide == isBlock }
        let own = ways.map { way, time in
          // The first share is the call's own, which no choice changes.
          let shares: [Double] =
            [1]
            + (0..<count).map { place in
              let paths = AttentionPaths(sample.layer, (.f16, .f16), way.forced, costs: costs(place))
              return isBlock
                ? paths.blockCost(sample.queries, sample.shape.positions, byHead: false)
                : Double(sample.queries) * paths.queryCost(sample.shape.positions, byHead: false)
            }
          return Row(shares: shares, time: time - (calls?[sample.shape.heads] ?? 0), scale: time)
        }
        guard let best = own.min(by: { $0.time < $1.time }) else { continue }
        rows += own
        for other in own where other.time > best.time {
          rows.append(
            Row(
              shares: zip(other.shares, best.shares).map { 2 * ($0 - $1) }, time: 2 * (other.time - best.time),
              scale: other.time))
        }
      }
      let (numbers, error) = Self.leastSquares(rows, count + 1)
      return (Array(numbers.dropFirst()), error, numbers[0])
    }
    func query(_ place: Int) -> QueryCosts { QueryCosts(numbers: unit(QueryCosts.count, place)) }
    let one = solve(QueryCosts.count, 1) { place in
      var costs = zero
      costs.one = query(place)
      return costs
    }
    let group = solve(QueryCosts.count, 4) { place in
      var costs = zero
      costs.group = query(place)
      return costs
    }
    let block = solve(BlockCosts.count, nil, calls: [1: one.call, 4: group.call]) { place in
      var costs = zero
      costs.block = BlockCosts(numbers: unit(BlockCosts.count, place))
      return costs
    }
    (self.one, self.group, self.block) = (one.numbers, group.numbers, block.numbers)
    errors = [one.error, group.error, block.error]
  }

  /// What the coefficients' shares should add up to.
  private struct Row {
    var shares: [Double]
    var time: Double
    /// What errors are measured by.
    var scale: Double
  }

  /// Coordinate after coordinate, each to where the sum of squares is least, but not below zero.
  ///
  /// - Returns: the coefficients, and the root mean square of the errors.
  private static func leastSquares(_ rows: [Row], _ count: Int) -> (numbers: [Double], error: Double) {
    var products = [[Double]](repeating: [Double](repeating: 0, count: count), count: count)
    var targets = [Double](repeating: 0, count: count)
    for row in rows {
      let shares = row.shares.map { $0 / row.scale }
      for place in 0..<count {
        targets[place] += shares[place] * row.time / row.scale
        for other in 0..<count { products[place][other] += shares[place] * shares[other] }
      }
    }
    var numbers = [Double](repeating: 0, count: count)
    for _ in 0..<30_000 {
      for place in 0..<count where products[place][place] > 0 {
        var rest = targets[place]
        for other in 0..<count where other != place { rest -= products[place][other] * numbers[other] }
        numbers[place] = max(0, rest / products[place][place])
      }
    }
    let squares = rows.reduce(0.0) { sum, row in
      let error = (zip(row.shares, numbers).reduce(0) { $0 + $1.0 * $1.1 } - row.time) / row.scale
      return sum + error * error
    }
    return (numbers, (squares / Double(max(rows.count, 1))).squareRoot())
  }

  /// As the source holds them.
  func text(_ level: String) -> String {
    func list(_ numbers: [Double], _ names: [String]) -> String {
      zip(names, numbers).filter { $0.1 >= 0.0005 }.map { "\($0): \(rounded($1, $1 < 10 ? 3 : 0))" }
        .joined(separator: ", ")
    }
    let error = errors.map { rounded($0, 2) }
    return """
        /// Root mean squares of the errors: \(error[0]) of one head, \(error[1]) of a group, \(error[2]) of blocks.
        package static let \(level) = AttentionCosts(
          one: QueryCosts(\(list(one, QueryCosts.names))),
          group: QueryCosts(\(list(group, QueryCosts.names))),
          block: BlockCosts(\(list(block, BlockCosts.names))), tile: \(tile))
      """
  }

  var json: JSON {
    func list(_ numbers: [Double], _ names: [String]) -> JSON {
      .object(zip(names, numbers).map { ($0, .number($1)) })
    }
    return .object([
      ("one", list(one, QueryCosts.names)), ("group", list(group, QueryCosts.names)),
      ("block", list(block, BlockCosts.names)), ("relativeErrors", .array(errors.map { .number($0) })),
    ])
  }
}
