/// The database beside its watermark: compared when a store is opened, and whenever somebody asks. A database that lost
/// commits is left as it is, its log too, until the caller accepts the loss; from then on it counts from beyond the
/// watermark, so that no number is used twice and nothing has to be taken back.

package import CacheTypes

extension RowStore {
  /// What the watermark says about the database now; `nil` if the store was opened without one.
  package func watermarkState() throws(StoreError) -> WatermarkState? {
    try ledger.watermark?.state { () throws(StoreError) in
      try withReader { (session) throws(StoreError) in try session.readMeta().commits }
    }
  }
}

extension ReadSession {
  /// The bytes that name the store.
  func readStoreID() throws(StoreError) -> [UInt8] {
    let statement = try connection.prepare("SELECT store FROM meta WHERE id = 1")
    guard try statement.step() else { throw .damaged("\(connection.path): the table meta has no row") }
    let store = statement.bytes(0)
    guard store.count == RowStore.storeIDByteCount else {
      throw .damaged("\(connection.path): meta.store has \(store.count) bytes of \(RowStore.storeIDByteCount)")
    }
    return store
  }

  /// - Returns: what the watermark says: something that is not refused, or that the caller accepts.
  /// - Throws: `StoreError.rolledBack`, or `.damaged` where nobody can tell.
  func checkWatermark(_ watermark: Watermark?, acceptsRollback: Bool) throws(StoreError) -> WatermarkState? {
    guard let watermark else { return nil }
    watermark.belong(to: try readStoreID())
    let state = watermark.stateAtOpening(commits: try readMeta().commits)
    guard state.isRefused, !acceptsRollback else { return state }
    if case .rolledBack(let commits) = state { throw .rolledBack(path: connection.path, commits: commits) }
    throw .damaged("\(watermark.path): \(state)")
  }
}

extension WriteSession {
  /// As for reading. An accepted state is put right by a commit whose number is beyond all that were taken down.
  func checkWatermark(_ watermark: Watermark?, acceptsRollback: Bool) throws(StoreError) -> WatermarkState? {
    do throws(StoreError) {
      let state = try reading.checkWatermark(watermark, acceptsRollback: acceptsRollback)
      guard let watermark, let state, state.isRefused else { return state }
      if state == .foreign { try watermark.clear() }
      _ = try transaction { (meta) throws(StoreError) in
        let lost = max(0, (watermark.newestAtOpening ?? 0) - meta.commits)
        meta.commits += lost
        // Who has indexed rows that are lost begins again.
        meta.eraseEpoch += min(lost, 1 << 32) + 1
      }
      return state
    } catch {
      // Closing must not move what is left of the log into the database: it may hold what was lost.
      connection.leaveLogOnClose()
      throw error
    }
  }
}
