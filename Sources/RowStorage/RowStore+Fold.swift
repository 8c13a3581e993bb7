/// Folding: the tail's rows, in order of arrival, become blocks, in order of users. A pass reads the tail's payloads in
/// one sweep, copies them to blocks user by user, then deletes the rows range by range while `folded_seq` moves up;
/// every step is a short transaction. A kill anywhere loses nothing and repeats nothing: copying skips what blocks hold
/// already, and a row is deleted only after the commit that copied it.
///
/// None of this waits for the disk. A tail row is on disk since its append; the log keeps the order of commits, so a
/// loss of power that takes the blocks takes the deletion as well.

package import CacheTypes

/// A fold in progress.
struct FoldPass {
  /// What comes next.
  enum Phase { case reading, copying, deleting }
  var phase = Phase.reading
  let arena: TailArena
  /// The last row that was in the tail when the pass began; a pass takes fewer if they do not fit into memory.
  let last: Int64
  /// Users with rows of the pass; `nil` until the first write transaction has brought the overlay up to date.
  var users: [UserID]?
  var nextUser = 0
  /// Users with a damaged row: theirs stay in the tail, as they are, until somebody deletes or repairs them.
  var damaged: Set<UserID> = []

  /// The rows with this number and below are folded.
  var through: Int64 { arena.through }
}

extension RowStore {
  /// Users of one slice. A slice holds the write lock for a few milliseconds.
  static let foldSliceUserCount = 512
  /// Rows that one transaction reads or deletes.
  static let foldStepRowCount: Int64 = 16_384
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
    if writer.fold != nil { try foldStep(writer) }
    if writer.session.framesInLog >= Self.checkpointPageCount { try checkpoint(writer) }
  }

  /// Folds until no more than the newest `limit` of the rows that are there now are left. Rows that other processes go
  /// on adding are not waited for.
  func foldAll(_ writer: Writer, downTo limit: Int) throws(StoreError) -> Int {
    var folded = 0
    let target = try writer.session.reading.readMeta().nextSeq - 1 - Int64(limit)
    while true {
      if writer.fold == nil {
        guard try writer.session.reading.readMeta().foldedSeq < target else { return folded }
        try beginFold(writer)
      }
      while writer.fold != nil {
        folded += try foldStep(writer)
        if writer.session.framesInLog >= Self.checkpointPageCount { try checkpoint(writer) }
      }
    }
  }

  func checkpoint(_ writer: Writer) throws(StoreError) {
    if writer.meta?.isErasePending ?? false, try finishErasing(writer) { return }
    readers.endIdleSnapshots()
    _ = try writer.session.connection.checkpoint(truncate: false)
    writer.session.framesInLog = 0
  }

  private func beginFold(_ writer: Writer) throws(StoreError) {
    let meta = try writer.session.reading.readMeta()
    let count = memory.withLock { $0.overlay.count }
    writer.fold = FoldPass(arena: TailArena(after: meta.foldedSeq, expectedCount: count), last: meta.nextSeq - 1)
  }

  /// One transaction of the pass in progress.
  ///
  /// - Returns: tail rows deleted by it.
  @discardableResult
  private func foldStep(_ writer: Writer) throws(StoreError) -> Int {
    do throws(StoreError) {
      switch writer.fold!.phase {
      case .reading: try readForFold(writer)
      case .copying: try copyForFold(writer)
      case .deleting: return try deleteFolded(writer)
      }
      return 0
    } catch {
      // The next pass starts over: what was copied is skipped.
      writer.fold = nil
      note(error)
      throw error
    }
  }

  private func readForFold(_ writer: Writer) throws(StoreError) {
    let pass = writer.fold!
    try pass.arena.read(writer.session, through: pass.last, limit: Self.foldStepRowCount)
    guard pass.through == pass.last || pass.arena.isFull else { return }
    writer.fold!.phase = .copying
  }

  private func copyForFold(_ writer: Writer) throws(StoreError) {
    let pass = writer.fold!
    try writer.session.setSynced(false)
    let ((users, next), _) = try withoutTailRows(writer) { (meta) throws(StoreError) in
      // Only now does the overlay surely know every row of the pass, those of other processes among them.
      let users = pass.users ?? memory.withLock { $0.overlay.users(through: pass.through) }
      let slice = pass.nextUser..<min(pass.nextUser + Self.foldSliceUserCount, users.count)
      let target = try generation(meta.generation, writer.session.reading)
      for user in users[slice] {
        do throws(StoreError) {
          try foldUser(user, through: pass.through, to: target, arena: pass.arena, writer)
        } catch {
          guard case .damaged = error else { throw error }
          writer.fold!.damaged.insert(user)
        }
      }
      return (users, slice.upperBound)
    }
    writer.fold!.users = users
    writer.fold!.nextUser = next
    if next == users.count { writer.fold!.phase = .deleting }
  }

  private func deleteFolded(_ writer: Writer) throws(StoreError) -> Int {
    let through = writer.fold!.through
    try writer.session.setSynced(false)
    if !writer.fold!.damaged.isEmpty {
      try keepTailRows(of: writer.fold!.damaged, writer)
      writer.fold!.damaged = []
    }
    let (deleted, meta) = try withoutTailRows(writer) { (meta) throws(StoreError) in
      let end = try writer.session.lastTailRow(after: meta.foldedSeq, through: through, limit: Self.foldStepRowCount)
      guard end > meta.foldedSeq else { return 0 }
      writer.session.deleteTailRange.bind(meta.foldedSeq, at: 1)
      writer.session.deleteTailRange.bind(end, at: 2)
      try writer.session.deleteTailRange.run()
      meta.foldedSeq = end
      if end == through, memory.withLock({ $0.overlay.newestSeq ?? 0 }) <= end {
        // Nothing is left: the numbers that commits without tail rows used up, this one's too, count as folded.
        meta.nextSeq += 1
        meta.foldedSeq = meta.nextSeq - 1
      }
      return writer.session.connection.changedRowCount
    }
    writer.meta = meta
    if meta.foldedSeq >= through { writer.fold = nil }
    return deleted
  }

  /// Gives the tail rows of damaged users new numbers beyond all others, in their order and byte for byte: the rows
  /// between them go, and `folded_seq` moves over where they were. Every index of the tail starts again.
  private func keepTailRows(of users: Set<UserID>, _ writer: Writer) throws(StoreError) {
    _ = try writer.session.transaction { (meta) throws(StoreError) in
      try beginWriting(meta, writer)
      for user in users.sorted() {
        for row in memory.withLock({ $0.overlay.rows(of: user, below: .max, endingBeyond: -1) }) {
          writer.session.renumberTailRow.bind(row.seq, at: 1)
          writer.session.renumberTailRow.bind(meta.nextSeq, at: 2)
          try writer.session.renumberTailRow.run()
          meta.nextSeq += 1
        }
      }
      meta.eraseEpoch += 1
    }
  }

  /// A write transaction that adds no tail row and changes no history. The overlay is told so: sequence numbers that it
  /// did not see used up would look like rows that came and went, and make it forget every length.
  func withoutTailRows<Result>(
    _ writer: Writer, _ body: (inout Meta) throws(StoreError) -> Result
  ) throws(StoreError) -> (Result, Meta) {
    var firstSeq: Int64 = 0
    let (result, meta) = try writer.session.transaction { (meta) throws(StoreError) in
      try beginWriting(meta, writer)
      firstSeq = meta.nextSeq
      return try body(&meta)
    }
    memory.withLock { memory in
      memory.overlay.learn([], from: firstSeq, nextSeq: meta.nextSeq)
      if memory.foldingChangesNumbers(of: modelID) { memory.histories.removeAll() }
    }
    return (result, meta)
  }

  /// Copies one user's tail rows to blocks. Rows of another model stay in their own generation.
  func foldUser(
    _ user: UserID, through seq: Int64 = .max - 1, to current: Generation, arena: TailArena? = nil, _ writer: Writer
  ) throws(StoreError) {
    let rows = memory.withLock { $0.overlay.rows(of: user, below: seq + 1, endingBeyond: 0) }
    guard let newest = rows.last else { return }
    let own = try generation(Int64(newest.generation), writer.session.reading)
    let target = own.modelID == current.modelID ? current : own
    try extendBlocks(of: user, rows, to: target, arena: arena, writer)
  }
}
