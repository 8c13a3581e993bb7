/// Histories for attention and reconstruction: from among those that were decoded lately where they are still right,
/// else read and kept for the next request. Where nobody has committed since the last read, not even a connection is
/// needed.

internal import CKernels
package import CacheTypes

extension RowStore {
  /// Calls `body` with positions of a user as of now. They may begin before the first wanted position and end after the
  /// last.
  ///
  /// - Parameter layers: the layers whose columns are filled; others may stay empty.
  /// - Throws: `StoreError.unknownUser`, `.staleUser`, `.damaged`.
  /// - Complexity: O(1) for what is kept; O(n) in the positions from the first wanted one to the end otherwise.
  package func withHistory<Result>(
    of user: UserID, _ wanted: WantedPositions = .all, layers: Range<Int>? = nil,
    _ body: (borrowing UserRows) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    if let rows = try keptHistory(of: user, wanted, layers ?? 0..<model.shape.layers.count) { return try body(rows) }
    return try withSnapshot { (snapshot) throws(StoreError) in
      try snapshot.withHistory(of: user, wanted, layers: layers, body)
    }
  }

  /// What is kept of a user, if a snapshot taken now would read the same.
  private func keptHistory(
    of user: UserID, _ wanted: WantedPositions, _ layers: Range<Int>
  ) throws(StoreError) -> UserRows? {
    guard let meta = readers.standingMeta() else { return nil }
    let (history, poison) = memory.withLock { memory in
      (memory.overlay.age(of: meta) == .current ? memory.history(of: user, asOf: meta) : nil, memory.poison)
    }
    if let poison { throw poison }
    guard let history, history.holds(wanted, layers) else { return nil }
    return UserRows(history)
  }
}

extension Snapshot {
  /// As `RowStore.withHistory`, as of this snapshot.
  package mutating func withHistory<Result>(
    of user: UserID, _ wanted: WantedPositions = .all, layers: Range<Int>? = nil,
    _ body: (borrowing UserRows) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    let rows = try history(of: user, wanted, layers ?? 0..<store.model.shape.layers.count)
    let result = try body(rows)
    // The memory of what nobody else reads serves the next read.
    if !rows.isShared, rows.entries.count <= Self.recycledCount { session.spare = rows.entries }
    return result
  }

  /// Asks for the columns of a user's kept history, so that they come while another's are computed with.
  package func lookAhead(to user: UserID, layers: Range<Int>) {
    let history = store.memory.withLock { $0.histories.history(of: user) }
    guard let history else { return }
    for layer in history.layers.clamped(to: layers) { history.entries.layers[layer].prefetch() }
  }

  /// Longer columns are given back to the system.
  private static let recycledCount = 1 << 14

  private mutating func history(
    of user: UserID, _ wanted: WantedPositions, _ layers: Range<Int>
  ) throws(StoreError) -> UserRows {
    guard ownOverlay == nil else { return try read(user, wanted, layers: layers) }
    let meta = meta
    let (kept, epoch, byteLimit) = store.memory.withLock { memory in
      (memory.history(of: user, asOf: meta), memory.histories.epoch, memory.histories.historyByteLimit)
    }
    var layers = layers
    if let kept {
      if kept.holds(wanted, layers) { return UserRows(kept) }
      // Layers that are asked for in turn shall not drive each other out.
      layers = min(layers.lowerBound, kept.layers.lowerBound)..<max(layers.upperBound, kept.layers.upperBound)
    }
    var rows = try read(user, wanted, layers: layers, keepsColumns: false, sharedByteLimit: byteLimit)
    guard rows.entries.byteCount <= byteLimit else { return rows }
    rows.isShared = true
    let history = KeptHistory(rows, layers: layers, nextSeq: self.meta.nextSeq)
    store.memory.withLock { memory in
      // What was folded or forgotten meanwhile may have been this very history.
      if memory.histories.epoch == epoch { memory.histories.insert(history, of: user) }
    }
    return rows
  }
}

extension RowStore.Memory {
  /// What is kept of a user, if a snapshot with these counters would read the same.
  ///
  /// - Precondition: the overlay is not older than the snapshot.
  fileprivate mutating func history(of user: UserID, asOf meta: Meta) -> KeptHistory? {
    guard overlay.foldedSeq == meta.foldedSeq, overlay.eraseEpoch == meta.eraseEpoch,
      let history = histories.history(of: user), history.nextSeq <= meta.nextSeq,
      !overlay.hasRows(of: user, below: meta.nextSeq, endingBeyond: history.length)
    else { return nil }
    return history
  }
}

extension LayerEntries {
  /// Columns are asked for up to so many bytes each: more would only drive out what is being used.
  private static let prefetchedByteCount = 16 << 10

  fileprivate func prefetch() {
    func prefetch<Number>(_ column: [Number]) {
      unsafe column.withUnsafeBytes { bytes in
        guard let start = bytes.baseAddress else { return }
        unsafe ckv_prefetch(start, min(bytes.count, Self.prefetchedByteCount))
      }
    }
    prefetch(keyIndices)
    prefetch(valueIndices)
    prefetch(keyUser)
    prefetch(valueUser)
  }
}

extension UserRows {
  fileprivate init(_ history: KeptHistory) {
    self.init(length: history.length, positions: history.positions, entries: history.entries, isShared: true)
  }
}

extension KeptHistory {
  /// Whether everything that is wanted is here.
  fileprivate func holds(_ wanted: WantedPositions, _ wantedLayers: Range<Int>) -> Bool {
    let wanted = wanted.clamped(to: length)
    return layers.lowerBound <= wantedLayers.lowerBound && wantedLayers.upperBound <= layers.upperBound
      && positions.lowerBound <= wanted.lowerBound && wanted.upperBound <= positions.upperBound
  }
}
