/// Append, top-down: a ticket joins the queue; the leader opens one transaction for all tickets that wait, looks up
/// each user's length, writes one tail row per run (or blocks, where a run is as long as a block), commits, and lets
/// the overlay know. Whatever is wrong with one ticket is found before any of its rows is written.

package import CacheTypes

extension RowStore {
  /// Appends runs of a batch in one transaction, together with the appends of other threads that wait.
  ///
  /// - Parameters:
  ///   - entries: validated against the model, with the optional columns that the store keeps.
  ///   - skipsRepeats: positions below a user's length are left out, instead of refused.
  /// - Returns: the users' lengths after each run.
  /// - Throws: `StoreError.positionConflict`, `.staleUser`, `.invalidInput`: nothing was written; `.busy`: nothing was
  ///   written; `.poisoned`: a commit failed, the outcome is unknown until the store is opened anew.
  package func append(_ entries: Entries, _ runs: [Run], skipsRepeats: Bool = false) throws(StoreError) -> [Int] {
    for run in runs {
      if case .bytes(let bytes) = run.user, bytes.count > UserID.byteCountLimit {
        throw .invalidInput("a user id of \(bytes.count) bytes: at most \(UserID.byteCountLimit)")
      }
      if let expected = run.expectedPosition, expected < 0 {
        throw .invalidInput("user \(run.user): the expected position is \(expected)")
      }
    }
    let ticket = AppendTicket(entries: entries, runs: runs, skipsRepeats: skipsRepeats)
    return try writerQueue.submit(
      ticket, commit: { commit($0) },
      upkeep: {
        // The appends are on disk; if upkeep fails it is tried again after the next one, and `fold` reports.
        try? upkeep()
      })
  }

  /// Commits tickets together.
  ///
  /// - Returns: the outcome of each.
  private func commit(_ tickets: [AppendTicket]) -> [Result<[Int], StoreError>] {
    do throws(StoreError) {
      let writer = try leadingWriter()
      try writer.session.setSynced(syncsCommits)
      var batch = AppendBatch(isAlone: tickets.count == 1)
      let (_, meta) = try writer.session.transaction { (meta) throws(StoreError) in
        try beginWriting(meta, writer)
        let generation = try currentGeneration(meta, writer.session.reading)
        batch.firstSeq = meta.nextSeq
        for ticket in tickets {
          do throws(StoreError) {
            batch.outcomes.append(.success(try write(ticket, generation, &meta, &batch, writer)))
          } catch {
            guard error.isRefusal else { throw error }
            batch.outcomes.append(.failure(error))
          }
        }
      }
      if batch.erased.isEmpty {
        memory.withLock { memory in
          memory.overlay.learn(batch.fresh, from: batch.firstSeq, nextSeq: meta.nextSeq)
          noteTailRows(&memory)
        }
      }
      writer.meta = meta
      return batch.outcomes
    } catch {
      note(error)
      // Damage is one user's: everybody else's append goes on without it.
      if case .damaged = error, tickets.count > 1 { return tickets.flatMap { commit([$0]) } }
      return tickets.map { _ in .failure(error) }
    }
  }

  /// Keeps in mind that a commit failed.
  func note(_ error: StoreError) {
    if case .poisoned = error { memory.withLock { $0.poison = error } }
  }

  /// Brings the overlay up to the state that a write transaction sees, which nobody else can change now.
  func beginWriting(_ meta: Meta, _ writer: Writer) throws(StoreError) {
    guard try refresh(to: meta, writer.session.reading) else {
      throw .damaged("\(path): the database is older than what this process has read from it")
    }
  }

  /// The generation for new rows.
  func currentGeneration(_ meta: Meta, _ session: ReadSession) throws(StoreError) -> Generation {
    let generation = try generation(meta.generation, session)
    guard generation.modelID == modelID else {
      throw .notAStore(path: path, reason: "its model was replaced since it was opened: open it anew to append")
    }
    return generation
  }

  // MARK: One ticket

  /// What a transaction has done so far.
  private struct AppendBatch {
    /// Whether the transaction has one ticket only.
    let isAlone: Bool
    var firstSeq: Int64 = 0
    var fresh: ContiguousArray<TailRow> = []
    /// Lengths of users that this transaction has written to.
    var lengths: [UserID: Int] = [:]
    var outcomes: [Result<[Int], StoreError>] = []
    /// Users whose rows of another model went: the overlay still lists them.
    var erased: Set<UserID> = []

    init(isAlone: Bool) { self.isAlone = isAlone }
  }

  /// One run with its place.
  private struct PlacedRun {
    var user: UserID
    var position: Int
    var rows: Range<Int>
    var isReset: Bool
    /// Whether this transaction may have written to the user before.
    var isContinued: Bool
  }

  /// Places all runs of a ticket, then writes them.
  private func write(
    _ ticket: AppendTicket, _ generation: Generation, _ meta: inout Meta, _ batch: inout AppendBatch, _ writer: Writer
  ) throws(StoreError) -> [Int] {
    if generation.id != openedGeneration {
      // Another process has migrated the store: the caller checked the numbers against another element type.
      try ticket.entries.validate(against: generation.layout.shape, element: generation.layout.element)
    }
    var placed: [PlacedRun] = []
    placed.reserveCapacity(ticket.runs.count)
    var lengths: [UserID: Int] = [:]
    // Where no user can come twice, nobody needs to remember what was written: a tenth of a commit of 256 users.
    let canMeetAgain = !batch.isAlone || !Self.ascend(ticket.runs)
    if canMeetAgain { lengths.reserveCapacity(ticket.runs.count) }
    var results: [Int] = []
    results.reserveCapacity(ticket.runs.count)
    for run in ticket.runs {
      let known: Int? = canMeetAgain ? lengths[run.user] ?? batch.lengths[run.user] : nil
      let (length, isReset) = if let known { (known, false) } else { try length(for: run, writer.session.reading) }
      let rows = try Self.rowsToWrite(run, length, skipsRepeats: ticket.skipsRepeats)
      guard rows.count <= Self.lengthLimit - length else {
        throw .invalidInput("user \(run.user): a history of more than \(Self.lengthLimit) positions")
      }
      results.append(length + rows.count)
      // A run of no positions resets nobody: that is left to the next one.
      if rows.isEmpty && isReset { continue }
      if canMeetAgain { lengths[run.user] = length + rows.count }
      guard !rows.isEmpty else { continue }
      placed.append(
        PlacedRun(user: run.user, position: length, rows: rows, isReset: isReset, isContinued: known != nil))
    }
    writer.dropTailRows()
    for run in placed { try write(run, ticket.entries, generation, &meta, &batch, writer) }
    try writer.insertTailRows()
    for (user, length) in lengths { batch.lengths[user] = length }
    return results
  }

  /// Whether each run's user comes after the one before.
  private static func ascend(_ runs: [Run]) -> Bool {
    for index in runs.indices.dropFirst() where !(runs[index - 1].user < runs[index].user) { return false }
    return true
  }

  /// The user's length now: overlay, then cache, then the newest block.
  private func length(for run: Run, _ session: ReadSession) throws(StoreError) -> (length: Int, isReset: Bool) {
    let user = run.user
    let (newest, cached) = memory.withLock { memory in
      let newest = memory.overlay.newest(of: user)
      return (newest, newest == nil ? memory.lengths.value(of: user).map { Int($0) } : nil)
    }
    if let cached { return (cached, false) }
    var length = 0
    var generation: Int64?
    if let newest {
      (length, generation) = (newest.end, Int64(newest.generation))
    } else if let block = try session.newestBlock(of: user) {
      (length, generation) = (block.end, block.generation)
    }
    if let generation, try self.generation(generation, session).modelID != modelID {
      guard run.resetsStaleUser else { throw .staleUser(user) }
      return (0, true)
    }
    if newest == nil { memory.withLock { $0.lengths.set(UInt32(length), for: user) } }
    return (length, false)
  }

  /// The rows of a run that lie beyond the user's length.
  private static func rowsToWrite(_ run: Run, _ length: Int, skipsRepeats: Bool) throws(StoreError) -> Range<Int> {
    guard let expected = run.expectedPosition, expected != length else { return run.rows }
    guard skipsRepeats, expected < length else {
      throw .positionConflict(user: run.user, expected: expected, length: length)
    }
    return min(run.rows.lowerBound + (length - expected), run.rows.upperBound)..<run.rows.upperBound
  }

  private func write(
    _ run: PlacedRun, _ entries: Entries, _ generation: Generation, _ meta: inout Meta, _ batch: inout AppendBatch,
    _ writer: Writer
  ) throws(StoreError) {
    if run.isReset {
      try writer.insertTailRows()
      meta.positions = max(0, meta.positions - Int64(try eraseRows(of: run.user, writer) ?? 0))
      meta.eraseEpoch += 1
      meta.isErasePending = true
      batch.erased.insert(run.user)
    }
    var row = TailRow(
      seq: meta.nextSeq, user: run.user, position: UInt32(run.position), count: UInt32(run.rows.count),
      generation: UInt16(generation.id))
    if run.rows.count >= generation.blockCapacity {
      try writer.insertTailRows()
      let tail = tailRows(of: run, batch)
      try extendBlocks(of: run.user, tail, to: generation, adding: entries, run.rows, at: run.position, writer)
      // A marker in the tail tells every process how long the history is now.
      row.position += row.count
      row.count = 0
    }
    try writer.addTailRow(row, generation, entries, run.rows)
    batch.fresh.append(row)
    meta.nextSeq += 1
    meta.positions += Int64(run.rows.count)
  }

  /// The user's tail rows, those of the present transaction among them.
  private func tailRows(of run: PlacedRun, _ batch: AppendBatch) -> [TailRow] {
    var rows: [TailRow] = []
    if !batch.erased.contains(run.user) {
      rows = memory.withLock { $0.overlay.rows(of: run.user, below: .max, endingBeyond: 0) }
    }
    if run.isContinued { rows += batch.fresh.filter { $0.user == run.user } }
    return rows
  }
}

extension StoreError {
  /// Whether the caller's request was refused before anything was written.
  var isRefusal: Bool {
    switch self {
    case .invalidInput, .positionConflict, .staleUser, .unknownUser: true
    case .notAStore, .alreadyExists, .newerFormat, .invalidModel, .damaged, .rolledBack, .io, .database, .busy,
      .poisoned, .readOnly, .closed:
      false
    }
  }
}
