/// Deleting a user: its rows go in one commit, and the log that still holds them is emptied at once if nobody's
/// snapshot needs it. Otherwise a flag in the database remembers, and the next opportunity finishes it.

package import CacheTypes

extension RowStore {
  /// Deletes everything that is stored for a user, stale rows too.
  ///
  /// - Returns: the positions that went, and whether old pages may still be in the log.
  /// - Throws: `StoreError.unknownUser`.
  package func delete(_ user: UserID) throws(StoreError) -> (positions: Int, isErasurePending: Bool) {
    try writing { (writer) throws(StoreError) in
      // A fold in progress holds copies of payloads: it starts over.
      writer.fold = nil
      try writer.session.setSynced(syncsCommits)
      let (positions, _) = try writer.session.transaction { (meta) throws(StoreError) in
        try beginWriting(meta, writer)
        let erased = try eraseRows(of: user, writer)
        guard let erased else { throw .unknownUser(user) }
        // A count that was damaged is no reason to keep anybody's rows.
        meta.positions = max(0, meta.positions - Int64(erased))
        meta.eraseEpoch += 1
        meta.isErasePending = true
        return erased
      }
      return (positions, try !finishErasing(writer, milliseconds: Self.idleSnapshotMilliseconds))
    }
  }

  /// Removes a user's rows inside a write transaction; the caller moves `erase_epoch`.
  ///
  /// - Returns: positions removed, those of damaged rows as far as they can be told; `nil` if there were no rows.
  func eraseRows(of user: UserID, _ writer: Writer) throws(StoreError) -> Int? {
    let session = writer.session.reading
    let tail = memory.withLock { $0.overlay.rows(of: user, below: .max, endingBeyond: -1) }
    var length = tail.last?.end ?? 0
    var hasRows = !tail.isEmpty
    if let number = try session.number(of: user) {
      session.bindBlocks(number)
      defer { session.blocksFromNewest.reset() }
      // What the newest block's columns say may be damaged: the newest that can be believed counts.
      while try session.blocksFromNewest.step() {
        hasRows = true
        guard let place = try? RowPlace(session.blocksFromNewest, user: user) else { continue }
        length = max(length, place.end)
        break
      }
      session.blocksFromNewest.reset()
      try writer.session.deleteUser(number)
    }
    guard hasRows else { return nil }
    for row in tail {
      writer.session.deleteTailRow.bind(row.seq, at: 1)
      try writer.session.deleteTailRow.run()
    }
    return length
  }

  /// How long a delete waits for other processes' idle snapshots, which end by themselves.
  static let idleSnapshotMilliseconds: Int32 = 100

  /// Empties the log if erased bytes may be in it.
  ///
  /// - Parameter milliseconds: how long to wait for other connections' snapshots to end.
  /// - Returns: whether it is done; false while another connection's snapshot holds the log.
  func finishErasing(_ writer: Writer, milliseconds: Int32 = 0) throws(StoreError) -> Bool {
    let before = try writer.session.reading.readMeta()
    guard before.isErasePending else { return true }
    readers.dropIdle()
    writer.session.connection.setBusyTimeout(milliseconds: milliseconds)
    defer { writer.session.connection.setBusyTimeout(milliseconds: Connection.busyTimeoutMilliseconds) }
    guard try !writer.session.connection.checkpoint(truncate: true).isBusy else { return false }
    writer.session.framesInLog = 0
    do throws(StoreError) {
      let (isLast, _) = try writer.session.transaction { (meta) throws(StoreError) in
        // What another process erased since then may be in the log again.
        guard meta.eraseEpoch == before.eraseEpoch else { return false }
        meta.isErasePending = false
        return true
      }
      return isLast
    } catch .busy {
      // The bytes are gone; the flag stays, and somebody makes sure once more.
      return true
    }
  }
}
