/// One layer and one attention function, checked: what a call's parameters and the model's settings make of each other.
/// Batches over stored histories and stages both go through it.

internal import KVRuntime
internal import PoolStorage
internal import RowStorage

/// Made once per call, applied to every request of it.
final class AttentionTarget: Sendable {
  let number: Int
  let shape: LayerShape
  /// The layer whose keys `select` searches.
  let searched: Int?
  /// Tables of the queries of every request, where somebody has made them.
  let candidates: CandidateTables?
  private let tensors: LayerTensors
  /// What the tensors lie in: nothing computed from them is returned unless it is whole afterwards.
  private let pool: MappedPool
  private let scale: Float?
  private let window: Int?
  private let function: Function

  /// A function as far as it is known before the first request.
  private enum Function {
    case known(AttentionFunction)
    case select(top: Int, shape: PartShape, tensors: PartTensors)
  }

  /// - Throws: `StoreError.invalidInput` for a layer that does not exist or has no values, a parameter out of its
  ///   range, or one that neither the call nor the model brings.
  init(
    _ store: CacheStore, _ number: Int, _ attention: Attention, _ candidates: CandidateTables? = nil
  ) throws(StoreError) {
    let (shape, tensors, settings) = try store.layer(number)
    guard shape.value != nil else { throw .invalidInput("layer \(number) has no values: it is for search only") }
    if let window = attention.window, window < 1 { throw .invalidInput("a window of \(window) positions") }
    if let scale = attention.scale, !(scale > 0 && scale.isFinite) { throw .invalidInput("a scale of \(scale)") }
    self.number = number
    self.candidates = candidates
    self.shape = shape
    self.tensors = tensors
    pool = store.pool
    scale = attention.scale ?? settings.scale
    window = attention.window
    var searched: Int?
    switch attention.kind {
    case .softmax: function = .known(.softmax)
    case .topk(let top): function = .known(.topk(top: try Self.checked(top: top)))
    case .select(let top, let layer):
      let (other, otherTensors, _) = try store.layer(layer ?? number)
      searched = layer ?? number
      function = .select(top: try Self.checked(top: top), shape: other.key, tensors: otherTensors.key)
    case .simhash(let top, let rotations):
      let top = try Self.checked(top: top)
      function = .known(.simhash(top: top, rotations: try Self.rotations(rotations, store, number, "simhash")))
    case .sdim(let rotations):
      let own = try Self.rotations(rotations, store, number, "sdim")
      function = .known(.sdim(rotations: own, isNormalised: true))
    case .sdimSum(let rotations):
      let own = try Self.rotations(rotations, store, number, "sdim")
      function = .known(.sdim(rotations: own, isNormalised: false))
    case .silu(let divisor):
      function = .known(.silu(divisor: try Self.divisor(divisor ?? settings.divisor, number), bias: nil))
    case .siluBias(let bias, let divisor):
      function = .known(.silu(divisor: try Self.divisor(divisor ?? settings.divisor, number), bias: bias))
    }
    self.searched = searched
    if case .known(let function) = function { try function.checkParameters(shape) }
  }

  private static func checked(top: Int) throws(StoreError) -> Int {
    guard top >= 1 else { throw .invalidInput("a top of \(top) positions; at least 1 is needed") }
    return top
  }

  private static func divisor(_ divisor: Float?, _ layer: Int) throws(StoreError) -> Float {
    guard let divisor else {
      throw .invalidInput("silu needs a divisor: neither the call nor the model brings one for layer \(layer)")
    }
    return divisor
  }

  private static func rotations(
    _ own: Rotations?, _ store: CacheStore, _ layer: Int, _ name: String
  ) throws(StoreError) -> HashRotations {
    if let own {
      // A table is kept for the requests of this call: it is made if there are enough of them.
      return try HashRotations(
        values: own.values, groups: own.groups, bits: own.bits, keys: store.model.shape.layers[layer].key,
        store.pool.model.layers[layer].key, budget: HashTableBudget(byteLimit: ModelRotations.tableByteLimit))
    }
    let kept = try store.rotations.rotations(store.pool.model, layer: layer, isGrouped: name == "sdim")
    guard let kept else {
      throw .invalidInput(
        "\(name) needs rotations: the call brings none, and the model has no layers.\(layer).rotations.\(name)")
    }
    return kept
  }

  /// The layers that have to be read, and what lies between them.
  var layers: Range<Int> {
    let other = searched ?? number
    return min(number, other)..<max(number, other) + 1
  }

  /// Answers one request as of now.
  func answer(_ request: AttendRequest, _ rows: RowStore) throws(StoreError) -> AttendResponse {
    try check(request)
    return try rows.withHistory(of: request.user, wanted(request.positions), layers: layers) {
      (found) throws(StoreError) in try attend(request, found)
    }
  }

  /// Answers one request from a snapshot.
  func answer(_ request: AttendRequest, _ snapshot: inout Snapshot) throws(StoreError) -> AttendResponse {
    try check(request)
    return try snapshot.withHistory(of: request.user, wanted(request.positions), layers: layers) {
      (found) throws(StoreError) in try attend(request, found)
    }
  }

  /// Lets what is kept for a request come nearer while another one is answered.
  func lookAhead(to request: AttendRequest, _ snapshot: borrowing Snapshot) {
    snapshot.lookAhead(to: request.user, layers: layers)
  }

  private func check(_ request: AttendRequest) throws(StoreError) {
    let width = shape.key.width
    guard request.queries.count.isMultiple(of: width) else {
      throw .invalidInput("user \(request.user): \(request.queries.count) numbers are no whole queries of \(width)")
    }
    let count = request.queries.count / width
    if let positions = request.positions, positions.count != count {
      throw .invalidInput("user \(request.user): \(positions.count) positions for \(count) queries")
    }
  }

  private func attend(_ request: AttendRequest, _ found: borrowing UserRows) throws(StoreError) -> AttendResponse {
    let first = found.positions.lowerBound
    if let beyond = request.positions?.first(where: { $0 < 0 || $0 > found.length }) {
      throw .invalidInput("user \(request.user): position \(beyond) is beyond the length \(found.length)")
    }
    let queries = AttentionQueries(
      values: request.queries, count: request.queries.count / shape.key.width,
      positions: request.positions.map { $0.map { $0 - first } },
      window: window, scale: scale)
    let search: LayerEntries? = if let searched { found.entries.layers[searched] } else { nil }
    let output = try function(request.selectQueries, search).attend(
      queries, found.entries.layers[number], count: found.positions.count, shape: shape, tensors: tensors,
      candidates: candidates)
    try pool.checkWhole()
    return AttendResponse(output: output, length: found.length, error: nil)
  }

  /// What of the queries' scores depends on no user.
  func tables(_ queries: [Float], count: Int, byteLimit: Int) throws(StoreError) -> CandidateTables {
    var goesInBlocks = false
    if case .known(let function) = function { goesInBlocks = function.goesInBlocks }
    let tables = try CandidateTables(
      AttentionQueries(values: queries, count: count, scale: scale), goesInBlocks: goesInBlocks, shape: shape,
      tensors: tensors, byteLimit: byteLimit)
    try pool.checkWhole()
    return tables
  }

  /// Attention of one query per staged position.
  ///
  /// - Parameter search: the searched layer's entries, if one is searched.
  func answer(
    _ queries: [Float], selectQueries: [Float]?, _ entries: LayerEntries, search: LayerEntries?, stored: Int,
    count: Int, _ mask: StageMask
  ) throws(StoreError) -> [Float] {
    let queries = AttentionQueries(values: queries, count: count, positions: nil, window: window, scale: scale)
    let mask: KVRuntime.StageMask = mask == .causal ? .causal : .historyAndSelf
    let output = try function(selectQueries, search).attend(
      queries, mask: mask, storedCount: stored, entries, count: stored + count, shape: shape, tensors: tensors)
    try pool.checkWhole()
    return output
  }

  private func function(_ queries: [Float]?, _ entries: LayerEntries?) throws(StoreError) -> AttentionFunction {
    switch function {
    case .known(let function): return function
    case .select(let top, let shape, let tensors):
      guard let queries else { throw .invalidInput("select needs search queries") }
      guard let entries else { preconditionFailure("the searched layer is read with the attended one") }
      return .select(top: top, search: Search(shape: shape, tensors: tensors, entries: entries, queries: queries))
    }
  }

  /// The positions that any of the queries sees.
  private func wanted(_ positions: [Int]?) -> WantedPositions {
    guard let positions, let highest = positions.max(), let lowest = positions.min() else {
      return window.map { .last($0) } ?? .all
    }
    let high = max(highest, 0)
    return .range(max(0, window.map { lowest - min($0, lowest) } ?? 0)..<high)
  }
}
