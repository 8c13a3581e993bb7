/// Which way a query of a layer goes: the cheapest by `AttentionCosts`. What decides how values are added up is known
/// from the range's length and the model alone, and the same at every level: bits hang on it, and a query's bits
/// depend on nothing that comes with it. Ways with equal bits are chosen for the level in use and, side by side or one
/// by one, for how many queries there are.

internal import CKernels
package import CacheTypes

/// Ways that are taken whatever they cost: for tests and benchmarks, which compare them.
package struct ForcedPaths: Sendable {
  package var scores: ScorePath?
  package var sums: SumPath?
  /// Blocks wherever queries can go side by side, or nowhere.
  package var isSideBySide: Bool?

  package init(scores: ScorePath? = nil, sums: SumPath? = nil, isSideBySide: Bool? = nil) {
    self.scores = scores
    self.sums = sums
    self.isSideBySide = isSideBySide
  }
}

package struct AttentionPaths: Sendable {
  /// Beyond so many times a pool's rows, a pool row per position is never read: scratch has room for no more.
  private static let gatherFactor = 4

  private let shape: LayerShape
  private let costs: AttentionCosts
  private let sumCosts: AttentionCosts
  private let forced: ForcedPaths
  /// The pools as a pass over all heads sees them, as one of a group of heads does, and as one of a single head does,
  /// in the mean.
  private let keys: PoolView
  private let values: PoolView
  private let groupKeys: PoolView
  private let groupValues: PoolView
  private let headKeys: PoolView
  private let headValues: PoolView
  /// Heads of a softmax that have a weight per position.
  private let ownHeads: Double
  /// Whether a group's table lists the rows in use in any case: a head without a user part has its weights there.
  private var mustList: Bool { ownHeads < Double(shape.heads) }
  /// User columns that all heads together pass over.
  private let ownNumbers: Double
  private let groups: Int

  package init(
    _ shape: LayerShape, _ elements: (key: ElementType, value: ElementType), _ forced: ForcedPaths,
    costs: AttentionCosts? = nil
  ) {
    self.shape = shape
    self.forced = forced
    self.costs = costs ?? .active
    sumCosts = costs ?? .forSums
    let value = shape.value ?? shape.key
    let groups = (shape.heads + HeadGroup.size - 1) / HeadGroup.size
    self.groups = groups
    func view(_ part: PartShape, _ element: ElementType, passes: Int) -> PoolView {
      PoolView(
        rows: part.poolRows, columns: part.poolWidth / passes,
        byteCount: part.poolRows * part.poolWidth * element.byteCount, heads: shape.heads / passes)
    }
    keys = view(shape.key, elements.key, passes: 1)
    values = view(value, elements.value, passes: 1)
    groupKeys = view(shape.key, elements.key, passes: groups)
    groupValues = view(value, elements.value, passes: groups)
    headKeys = view(shape.key, elements.key, passes: shape.heads)
    headValues = view(value, elements.value, passes: shape.heads)
    // In the additive form every head needs every user column.
    func own(_ part: PartShape) -> Int { part.userWidth * (part.isAdditive ? shape.heads : 1) }
    ownNumbers = Double(own(shape.key) + own(value))
    func ownHeads(_ part: PartShape) -> Int {
      if part.isAdditive || part.userWidth == 0 { return part.userWidth > 0 ? shape.heads : 0 }
      let width = max(1, part.width / shape.heads)
      return (part.userWidth + width - 1) / width
    }
    self.ownHeads = shape.heads == 1 ? 1 : Double(max(ownHeads(shape.key), ownHeads(value)))
  }

  /// How keys are scored; `byHead`: in a pass of one head out of several.
  package func scores(_ positions: Int, byHead: Bool) -> ScorePath {
    if !AttentionLayer.canUseTables(shape.key) { return .gather }
    if let path = forced.scores { return path == .gather && positions > gatherLimit(shape.key) ? .rowsInUse : path }
    let isOne = byHead || shape.heads == 1
    let (costs, pool) = isOne ? (costs.one, headKeys) : (costs.group, groupKeys)
    let count = Double(positions)
    let gather = positions > gatherLimit(shape.key) ? .infinity : costs.scores(.gather, count, pool)
    let inUse = costs.scores(.rowsInUse, count, pool)
    let all = isOne || !mustList ? costs.scores(.allRows, count, pool) : .infinity
    return gather <= min(inUse, all) ? .gather : all < inUse ? .allRows : .rowsInUse
  }

  /// How values are added up, at every level and in any company.
  package func sums(_ positions: Int, byHead: Bool) -> SumPath {
    let value = shape.value ?? shape.key
    if positions > gatherLimit(value) { return .rowSums }
    if let path = forced.sums { return path }
    let (costs, pool) =
      byHead || shape.heads == 1
      ? (sumCosts.one, headValues) : (sumCosts.group, groupValues)
    let count = Double(positions)
    return costs.sums(.gather, count, pool) <= costs.sums(.rowSums, count, pool) ? .gather : .rowSums
  }

  /// The most positions that a pool row each is read for.
  var gatherLimit: Int { max(gatherLimit(shape.key), gatherLimit(shape.value ?? shape.key)) }

  /// Whether a block lists the keys' rows in use, or reads a row per position.
  package func blockListsKeys(_ positions: Int) -> Bool {
    guard AttentionLayer.canUseTables(shape.key) else { return false }
    if positions > gatherLimit(shape.key) { return true }
    if let path = forced.scores { return path != .gather }
    let count = Double(positions)
    return costs.block.scores(.rowsInUse, count, keys, share: 1) < costs.block.scores(.gather, count, keys, share: 1)
  }

  /// Whether `queries` over `positions` each, or nearly as many, go side by side.
  package func isSideBySide(_ queries: Int, _ positions: Int, byHead: Bool) -> Bool {
    if let forced = forced.isSideBySide { return forced }
    guard queries > 1 else { return false }
    return blockCost(queries, positions, byHead: byHead) < Double(queries) * queryCost(positions, byHead: byHead)
  }

  /// What one query takes alone, over whole heads.
  package func queryCost(_ positions: Int, byHead: Bool) -> Double {
    let count = Double(positions)
    let (score, sum) = (scores(positions, byHead: byHead), sums(positions, byHead: byHead))
    let heads = Double(shape.heads)
    if byHead || shape.heads == 1 {
      let costs = costs.one
      return heads
        * (costs.scores(score, count, headKeys) + costs.sums(sum, count, headValues)
          + costs.rest(count, ownHeads: 1, ownNumbers: ownNumbers / heads))
    }
    let (costs, passes) = (costs.group, Double(groups))
    let listed = score == .allRows && mustList ? .rowsInUse : score
    return passes
      * (costs.scores(listed, count, groupKeys) + costs.sums(sum, count, groupValues)
        + costs.rest(count, ownHeads: ownHeads / passes, ownNumbers: ownNumbers / passes))
  }

  /// What a block of `queries` takes.
  package func blockCost(_ queries: Int, _ positions: Int, byHead: Bool) -> Double {
    let (count, share) = (Double(positions), costs.share(queries))
    let score = blockListsKeys(positions) ? ScorePath.rowsInUse : .gather
    return costs.block.scores(score, count, keys, share: share)
      + costs.block.sums(sums(positions, byHead: byHead), count, values, share: share)
      + costs.block.rest(
        count, queries: Double(queries), heads: Double(shape.heads), ownHeads: byHead ? Double(shape.heads) : ownHeads,
        ownNumbers: ownNumbers)
  }

  private func gatherLimit(_ part: PartShape) -> Int {
    part.poolRows * Self.gatherFactor
  }
}
