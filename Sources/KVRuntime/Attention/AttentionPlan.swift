/// What `AttentionPaths` chooses for ranges of every length, worked out once per model, layer and level of the kernels:
/// each way is the cheapest from some length on, so that a query has lengths to compare and no costs to add up.

internal import CKernels
package import CacheTypes

/// The choices of one layer.
package final class AttentionPlan: Sendable {
  private let paths: AttentionPaths
  /// In passes of one head, and over all heads together; nowhere if ways are forced.
  private let byHead: Starts?
  private let together: Starts?
  /// The most positions that a pool row each is read for.
  let gatherLimit: Int
  /// The heads that share passes, in order.
  let groups: [HeadGroup]

  /// The lengths from which another way is taken.
  private struct Starts {
    /// Where scores stop reading a row per position, and where they begin to read all rows.
    var table: Int
    var allRows: Int
    /// Where weights begin to be added up by row.
    var rowSums: Int

    init(_ paths: AttentionPaths, byHead: Bool) {
      table = Self.least { paths.scores($0, byHead: byHead) != .gather }
      allRows = Self.least { paths.scores($0, byHead: byHead) == .allRows }
      rowSums = Self.least { paths.sums($0, byHead: byHead) == .rowSums }
    }

    /// The least length at which something holds that holds from some length on; `.max` if it never does.
    private static func least(_ holds: (Int) -> Bool) -> Int {
      var (low, high) = (1, Int(Int32.max))
      guard holds(high) else { return .max }
      while low < high {
        let middle = low + (high - low) / 2
        if holds(middle) { high = middle } else { low = middle + 1 }
      }
      return low
    }
  }

  package init(_ paths: AttentionPaths, _ shape: LayerShape, isForced: Bool) {
    self.paths = paths
    byHead = isForced ? nil : Starts(paths, byHead: true)
    together = isForced ? nil : Starts(paths, byHead: false)
    gatherLimit = paths.gatherLimit
    groups = stride(from: 0, to: shape.heads, by: HeadGroup.size).map {
      HeadGroup($0, of: shape, shape.value ?? shape.key)
    }
  }

  /// The plan of a layer. The same tensors may serve with several numbers of heads.
  package static func of(_ shape: LayerShape, _ tensors: LayerTensors, _ forced: ForcedPaths?) -> AttentionPlan {
    func paths() -> AttentionPaths {
      let elements = (tensors.key.pool.element, (tensors.value ?? tensors.key).pool.element)
      return AttentionPaths(shape, elements, forced ?? ForcedPaths())
    }
    guard forced == nil else { return AttentionPlan(paths(), shape, isForced: true) }
    return tensors.paths.object(shape.heads << 8 | AttentionCosts.activeLevel) {
      AttentionPlan(paths(), shape, isForced: false)
    }
  }

  package func scores(_ positions: Int, byHead isByHead: Bool) -> ScorePath {
    guard let starts = isByHead ? byHead : together else { return paths.scores(positions, byHead: isByHead) }
    return positions < starts.table ? .gather : positions < starts.allRows ? .rowsInUse : .allRows
  }

  package func sums(_ positions: Int, byHead isByHead: Bool) -> SumPath {
    guard let starts = isByHead ? byHead : together else { return paths.sums(positions, byHead: isByHead) }
    return positions < starts.rowSums ? .gather : .rowSums
  }

  /// Whether some range of at most so many positions takes a table.
  func mayListRows(_ positions: Int) -> Bool {
    scores(positions, byHead: false) != .gather || scores(positions, byHead: true) != .gather
  }

  /// The same of adding up weights.
  func mayAddUp(_ positions: Int) -> Bool {
    sums(positions, byHead: false) == .rowSums || sums(positions, byHead: true) == .rowSums
  }

  func blockListsKeys(_ positions: Int) -> Bool { paths.blockListsKeys(positions) }

  func isSideBySide(_ queries: Int, _ positions: Int, byHead: Bool) -> Bool {
    paths.isSideBySide(queries, positions, byHead: byHead)
  }
}
