/// Attending, top-down: check the queries, read the positions that they see, and let the runtime compute on the
/// compressed form. Full keys and values are never made.

internal import KVRuntime
internal import RowStorage

extension CacheStore {
  /// Attention output of every query over one user's history.
  ///
  /// - Parameters:
  ///   - queries: `C x d_k`, row-major.
  ///   - positions: one per query: it sees the positions below this one; `nil`: all.
  /// - Returns: `C x d_v`, row-major. A query that sees nothing gets zeros.
  /// - Throws: `StoreError.unknownUser` if nothing was ever appended for `user`, `.staleUser`, `.damaged`,
  ///   `.invalidInput`.
  /// - Complexity: O(n (d_u + heads) + min(n, m) d_g) per query; nothing of width d_g is touched per position twice.
  public func attend(
    _ queries: [Float], user: UserID, layer: Int = 0, _ attention: Attention = .softmax(), positions: [Int]? = nil
  ) throws(StoreError) -> [Float] {
    let target = try AttentionTarget(self, layer, attention)
    return try rows.withSnapshot { (snapshot) throws(StoreError) in
      try target.answer(AttendRequest(user: user, queries: queries, positions: positions), &snapshot).output
    }
  }

  /// Answers many requests. One bad request does not fail the others: its response carries the error.
  ///
  /// - Throws: `StoreError.invalidInput` for a layer or parameter that fits no request; `.closed`.
  public func attend(
    _ requests: [AttendRequest], layer: Int = 0, _ attention: Attention = .softmax()
  ) throws(StoreError) -> [AttendResponse] {
    let target = try AttentionTarget(self, layer, attention)
    return try rows.withSnapshot { (snapshot) throws(StoreError) in
      var responses: [AttendResponse] = []
      responses.reserveCapacity(requests.count)
      for request in requests {
        do throws(StoreError) {
          responses.append(try target.answer(request, &snapshot))
        } catch {
          responses.append(AttendResponse(output: [], length: 0, error: error))
        }
      }
      return responses
    }
  }
}

/// One layer and one attention function, checked.
struct AttentionTarget {
  let number: Int
  let shape: LayerShape
  let tensors: LayerTensors
  let scale: Float?
  let window: Int?

  init(_ store: CacheStore, _ number: Int, _ attention: Attention) throws(StoreError) {
    let (shape, tensors, settings) = try store.layer(number)
    guard shape.value != nil else { throw .invalidInput("layer \(number) has no values: it is for search only") }
    if let window = attention.window, window < 1 { throw .invalidInput("a window of \(window) positions") }
    if let scale = attention.scale, !(scale > 0 && scale.isFinite) { throw .invalidInput("a scale of \(scale)") }
    self.number = number
    self.shape = shape
    self.tensors = tensors
    scale = attention.scale ?? settings.scale
    window = attention.window
  }

  func answer(_ request: AttendRequest, _ snapshot: inout Snapshot) throws(StoreError) -> AttendResponse {
    let width = shape.key.width
    guard request.queries.count.isMultiple(of: width) else {
      throw .invalidInput("user \(request.user): \(request.queries.count) numbers are no whole queries of \(width)")
    }
    let count = request.queries.count / width
    if let positions = request.positions, positions.count != count {
      throw .invalidInput("user \(request.user): \(positions.count) positions for \(count) queries")
    }
    let found = try snapshot.read(request.user, wanted(request.positions), layers: number..<number + 1)
    let first = found.positions.lowerBound
    if let beyond = request.positions?.first(where: { $0 < 0 || $0 > found.length }) {
      throw .invalidInput("user \(request.user): position \(beyond) is beyond the length \(found.length)")
    }
    let queries = AttentionQueries(
      values: request.queries, count: count, positions: request.positions.map { $0.map { $0 - first } },
      window: window, scale: scale)
    let output = try SoftmaxAttention.attend(
      queries, found.entries.layers[number], count: found.positions.count, shape: shape, tensors: tensors)
    return AttendResponse(output: output, length: found.length, error: nil)
  }

  /// Attention of one query per staged position.
  func answer(
    _ queries: [Float], _ entries: LayerEntries, stored: Int, count: Int, _ mask: StageMask
  ) throws(StoreError) -> [Float] {
    let queries = AttentionQueries(values: queries, count: count, positions: nil, window: window, scale: scale)
    let mask: KVRuntime.StageMask = mask == .causal ? .causal : .historyAndSelf
    return try SoftmaxAttention.attend(
      queries, mask: mask, storedCount: stored, entries, count: stored + count, shape: shape, tensors: tensors)
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
