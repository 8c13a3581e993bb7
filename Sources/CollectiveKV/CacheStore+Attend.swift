/// Attending over one stored history. `AttentionTarget` reads the positions that the queries see and lets the runtime
/// compute on the compressed form; full keys and values are never made. `CacheStore+Batch.swift` answers many requests.

internal import RowStorage

extension CacheStore {
  /// Attention output of every query over one user's history.
  ///
  /// - Parameters:
  ///   - queries: `C x d_k`, row-major.
  ///   - positions: one per query: it sees the positions below this one; `nil`: all.
  ///   - selectQueries: what `select` searches for: `C x d_k` of the searched layer.
  /// - Returns: `C x d_v`, row-major. A query that sees nothing gets zeros.
  /// - Throws: `StoreError.unknownUser` if nothing was ever appended for `user`, `.staleUser`, `.damaged`,
  ///   `.invalidInput`: a NaN or an infinity in a query, a position beyond the history, a parameter that is out of its
  ///   range or that neither the call nor the model brings, or numbers so large that 32-bit floats do not hold a score.
  /// - Complexity: O(n (d_u + heads) + min(n, m) d_g) per query; nothing of width d_g is touched per position twice.
  public func attend(
    _ queries: [Float], user: UserID, layer: Int = 0, _ attention: Attention = .softmax(), positions: [Int]? = nil,
    selectQueries: [Float]? = nil
  ) throws(StoreError) -> [Float] {
    let target = try AttentionTarget(self, layer, attention)
    let request = AttendRequest(user: user, queries: queries, positions: positions, selectQueries: selectQueries)
    return try target.answer(request, rows).output
  }
}
