/// Softmax over the positions that a search finds (SIM: a general search unit, then an exact one). The search compares
/// whole search keys, of another layer or of the same, with a query of their own; what it keeps, it keeps for every
/// head.

internal import CacheTypes

final class SelectFormula: AttentionFormula {
  /// The searched keys: one head over their whole width.
  let layer: AttentionLayer
  private let queries: [Float]
  private let top: Int
  private let subset: SubsetSoftmax

  init(top: Int, _ search: Search, _ shape: LayerShape, longestRange: Int) throws(StoreError) {
    let pool = Tensor([], shape: [search.shape.poolRows, 0])
    let none = PartTensors(
      projectionWeight: nil, projectionBias: nil, routerWeight: nil, routerBias: nil, pool: pool, basis: nil)
    layer = try AttentionLayer(
      search.valuelessShape, LayerTensors(key: search.tensors, value: none), longestRange: longestRange)
    queries = search.queries
    self.top = top
    subset = SubsetSoftmax(shape, capacity: min(top, longestRange))
  }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ attended: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    let width = layer.shape.key.width
    guard let keys = unsafe columns.search else { preconditionFailure("a search comes with its columns") }
    try unsafe queries.withUnsafeBufferPointer { (numbers) throws(StoreError) in
      let wanted = unsafe numbers.baseAddress! + query.row * width
      let dots = try unsafe layer.dots(wanted, head: 0, keys, range, row: query.row)
      try unsafe subset.attend(top: top, of: dots, query, columns, range, attended, into: output)
    }
  }
}

/// Softmax over the positions with the greatest scores, the same ones for every head.
final class SubsetSoftmax {
  private let selection: Selection
  private let softmax = SoftmaxFormula()

  init(_ shape: LayerShape, capacity: Int) { selection = Selection(shape, capacity: capacity) }

  func attend(
    top: Int, of scores: UnsafePointer<Float>, _ query: AttendingQuery, _ columns: AttendedColumns,
    _ range: Range<Int>, _ layer: borrowing AttentionLayer, into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    guard top < range.count else { return try unsafe softmax.attend(query, columns, range, layer, into: output) }
    let places = unsafe selection.keep(top: top, of: scores, count: range.count)
    try unsafe attend(top: top, at: places, query, columns, range, layer, into: output)
  }

  /// The same over `top` places that somebody else has found; over all where `top` is as many or more.
  func attend(
    top: Int, at places: UnsafePointer<UInt32>, _ query: AttendingQuery, _ columns: AttendedColumns,
    _ range: Range<Int>, _ layer: borrowing AttentionLayer, into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    guard top < range.count else { return try unsafe softmax.attend(query, columns, range, layer, into: output) }
    let kept = unsafe AttendedColumns(
      keys: selection.gatherKeys(columns.keys, range, places, count: top),
      values: selection.gatherValues(columns.values, range, places, count: top))
    try unsafe softmax.attend(query, kept, 0..<top, layer, into: output)
  }
}

extension Search {
  /// What its entries have to fit.
  var keyOnlyShape: LayerShape { LayerShape(key: shape, value: nil, heads: 1) }

  /// Scoring alone: values that are nothing wide.
  fileprivate var valuelessShape: LayerShape {
    LayerShape(
      key: shape,
      value: PartShape(
        userWidth: 0, poolWidth: 0, poolRows: shape.poolRows, isAdditive: false, hasRouter: false),
      heads: 1)
  }
}
