/// Reading: lengths, entries, full keys and values, whole stores in one snapshot.

internal import KVRuntime
internal import RowStorage

extension CacheStore {
  /// Positions that a user has.
  ///
  /// - Throws: `StoreError.unknownUser` if nothing was ever appended for `user`, `.staleUser` if its rows belong to
  ///   another model.
  public func length(of user: UserID) throws(StoreError) -> Int {
    try rows.withSnapshot { (snapshot) throws(StoreError) in try snapshot.length(of: user) }
  }

  /// A user's stored entries, with items and timestamps where the store keeps them.
  ///
  /// - Parameter positions: which ones, cut to what there is; `nil`: all.
  /// - Throws: `StoreError.unknownUser`, `.staleUser`, `.damaged`.
  public func entries(of user: UserID, positions: Range<Int>? = nil) throws(StoreError) -> Entries {
    try read(user, positions, layers: nil, keepsColumns: true).entries
  }

  /// A user's full keys and values in one layer.
  ///
  /// - Returns: `n x d_k` and `n x d_v`.
  /// - Throws: `StoreError.unknownUser`, `.staleUser`, `.damaged`, `.invalidInput` for a layer that does not exist.
  /// - Complexity: O(n (d_k + d_v)).
  public func reconstruct(user: UserID, layer: Int, positions: Range<Int>? = nil) throws(StoreError) -> FullKV {
    _ = try self.layer(layer)
    let found = try read(user, positions, layers: layer..<layer + 1, keepsColumns: false)
    return try reconstruct(found.entries, layer: layer, first: found.positions.lowerBound)
  }

  /// Full keys and values of entries that were read before.
  public func reconstruct(_ entries: Entries, layer: Int) throws(StoreError) -> FullKV {
    try entries.validate(against: model.shape, element: .f32)
    return try reconstruct(entries, layer: layer, first: 0)
  }

  /// Hands out users' stored entries in order of their ids, all as of one commit; other threads and processes go on.
  ///
  /// - Parameters:
  ///   - user: only this one; throws `.unknownUser` if it has no rows.
  ///   - positions: which ones of each user, cut to what it has.
  public func forEachHistory(
    user: UserID? = nil, positions: Range<Int>? = nil, _ body: (History) throws -> Void
  ) throws {
    if let user {
      return try body(
        try rows.withSnapshot { (snapshot) throws(StoreError) in try Self.history(user, positions, &snapshot) })
    }
    // The body's own errors travel beside the store's typed ones.
    var failure: (any Error)?
    do {
      try rows.forEachUser { (user, snapshot) throws(StoreError) in
        let history = try Self.history(user, positions, &snapshot)
        do { try body(history) } catch {
          failure = error
          throw .closed
        }
      }
    } catch {
      throw failure ?? error
    }
  }

  // MARK: Inside

  private static func history(
    _ user: UserID, _ positions: Range<Int>?, _ snapshot: inout Snapshot
  ) throws(StoreError) -> History {
    do throws(StoreError) {
      let found = try snapshot.read(user, positions.map { .range($0) } ?? .all, keepsColumns: true)
      return History(
        user: user, length: found.length, isStale: false, positions: found.positions, entries: found.entries)
    } catch {
      guard case .staleUser = error else { throw error }
      return History(
        user: user, length: try snapshot.staleLength(of: user), isStale: true, positions: 0..<0,
        entries: Entries(count: 0, layers: []))
    }
  }

  private func read(
    _ user: UserID, _ positions: Range<Int>?, layers: Range<Int>?, keepsColumns: Bool
  ) throws(StoreError) -> UserRows {
    try rows.read(user, positions.map { .range($0) } ?? .all, layers: layers, keepsColumns: keepsColumns)
  }

  private func reconstruct(_ entries: Entries, layer: Int, first: Int) throws(StoreError) -> FullKV {
    let (shape, tensors, _) = try self.layer(layer)
    let (keys, values) = Reconstruction.reconstruct(
      entries.layers[layer], count: entries.count, range: 0..<entries.count, shape: shape, tensors: tensors)
    try pool.checkWhole()
    return FullKV(
      positions: first..<first + entries.count, keyWidth: shape.key.width, valueWidth: shape.value?.width ?? 0,
      keys: keys, values: values)
  }
}
