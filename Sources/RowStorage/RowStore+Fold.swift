/// Folding: the tail's rows, in order of arrival, become blocks, in order of users. A pass fixes the rows that it takes
/// (`through`), copies users slice by slice in short transactions, then deletes the rows range by range while
/// `folded_seq` moves up. A kill anywhere loses nothing and repeats nothing: copying skips what blocks hold already, and
/// a row is deleted only after the commit that copied it.
///
/// None of this waits for the disk. A tail row is on disk since its append; the log keeps the order of commits, so a loss
/// of power that takes the blocks takes the deletion as well.

package import CacheTypes

/// A fold in progress.
struct FoldPass {
  /// The rows with this number and below are folded.
  let through: Int64
  let users: [UserID]
  var nextUser = 0
  var arena: TailArena
}

extension RowStore {
  /// Users of one slice. A slice holds the write lock for a few milliseconds.
  static let foldSliceUserCount = 256
  /// Rows that one transaction deletes from the tail.
  static let foldDeletionRowCount: Int64 = 16_384
  /// Payload bytes that one pass takes into memory.
  static let foldArenaByteCount = 12 << 20
  /// Rows of the log at which it is moved into the database file.
  static let checkpointPageCount = 8_000
  /// Rows that a clean close leaves in the tail.
  static let cleanCloseTailRowCount = 50_000

  /// Rows that the tail may hold before it is folded.
  static func tailLimit(positions: Int64) -> Int { min(max(Int(positions / 20), 20_000), 400_000) }

  /// Folds everything that is in the tail now.
  ///
  /// - Returns: the rows that went.
  @discardableResult
  package func fold() throws(StoreError) -> Int {
    try writing { (writer) throws(StoreError) in try foldAll(writer, downTo: 0) }
  }

  /// What is due after an append: a slice of folding, a checkpoint. Bounded work.
  func upkeep() throws(StoreError) {
    let writer = try leadingWriter()
    if writer.fold == nil, let meta = writer.meta, meta.tailRowCount > Self.tailLimit(positions: meta.positions) {
      try beginFold(writer)
    }
    if writer.fold != nil { try foldSlice(writer) }
    if writer.session.framesInLog >= Self.checkpointPageCount { try checkpoint(writer) }
  }

  /// Folds until the tail holds no more than `limit` rows.
  func foldAll(_ writer: Writer, downTo limit: Int) throws(StoreError) -> Int {
    var folded = 0
    while true {
      if writer.fold == nil {
        guard try writer.session.reading.readMeta().tailRowCount > limit else { return folded }
        try beginFold(writer)
      }
      while writer.fold != nil {
        folded += try foldSlice(writer)
        if writer.session.framesInLog >= Self.checkpointPageCount { try checkpoint(writer) }
      }
    }
  }

  func checkpoint(_ writer: Writer) throws(StoreError) {
    _ = try writer.session.connection.checkpoint(truncate: false)
    writer.session.framesInLog = 0
  }

  /// Reads the rows of a pass, in one sweep.
  private func beginFold(_ writer: Writer) throws(StoreError) {
    let session = writer.session.reading
    var meta = try session.beginReading()
    defer { session.endReading() }
    while try !refresh(to: meta, session) {
      session.endReading()
      meta = try session.beginReading()
    }
    let arena = try TailArena(
      writer.session, after: meta.foldedSeq, through: meta.nextSeq - 1, byteLimit: Self.foldArenaByteCount)
    let users = memory.withLock { $0.overlay.users(through: arena.through) }
    writer.fold = FoldPass(through: arena.through, users: users, arena: arena)
  }

  /// One transaction of the pass in progress.
  ///
  /// - Returns: tail rows deleted by it.
  @discardableResult
  private func foldSlice(_ writer: Writer) throws(StoreError) -> Int {
    guard let pass = writer.fold else { return 0 }
    try writer.session.setSynced(false)
    do throws(StoreError) {
      if pass.nextUser < pass.users.count {
        let slice = pass.nextUser..<min(pass.nextUser + Self.foldSliceUserCount, pass.users.count)
        _ = try writer.session.transaction { (meta) throws(StoreError) in
          try beginWriting(meta, writer)
          let target = try generation(meta.generation, writer.session.reading)
          for user in pass.users[slice] { try foldUser(user, pass, target, writer) }
        }
        writer.fold!.nextUser = slice.upperBound
        return 0
      }
      let (deleted, meta) = try writer.session.transaction { (meta) throws(StoreError) in
        try beginWriting(meta, writer)
        let end = min(meta.foldedSeq + Self.foldDeletionRowCount, pass.through)
        guard end > meta.foldedSeq else { return 0 }
        writer.session.deleteTailRange.bind(meta.foldedSeq, at: 1)
        writer.session.deleteTailRange.bind(end, at: 2)
        try writer.session.deleteTailRange.run()
        let count = writer.session.connection.changedRowCount
        meta.foldedSeq = end
        if end == pass.through, memory.withLock({ $0.overlay.newestSeq ?? 0 }) <= end {
          // Nothing is left: the numbers that commits without tail rows used up, this one's too, count as folded.
          meta.nextSeq += 1
          meta.foldedSeq = meta.nextSeq - 1
        }
        return count
      }
      if meta.foldedSeq >= pass.through { writer.fold = nil }
      return deleted
    } catch {
      // The next pass starts over: what was copied is skipped.
      writer.fold = nil
      note(error)
      throw error
    }
  }

  /// Copies one user's tail rows to blocks. Rows of another model stay in their own generation.
  private func foldUser(_ user: UserID, _ pass: FoldPass, _ current: Generation, _ writer: Writer) throws(StoreError) {
    let rows = memory.withLock { $0.overlay.rows(of: user, below: pass.through + 1, endingBeyond: 0) }
    guard let newest = rows.last else { return }
    let own = try generation(Int64(newest.generation), writer.session.reading)
    let target = own.modelID == current.modelID ? current : own
    try extendBlocks(of: user, rows, to: target, arena: pass.arena, writer)
  }
}
