/// Append, top-down: a ticket joins the queue; the leader opens one transaction for all tickets that wait, looks up each
/// user's length, writes one tail row per run (or blocks, where a run is as long as a block), commits, and lets the
/// overlay know. Whatever is wrong with one ticket is found before any of its rows is written.

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
    let ticket = AppendTicket(entries: entries, runs: runs, skipsRepeats: skipsRepeats)
    return try writerQueue.submit(
      ticket, commit: { commit($0) },
      upkeep: {
        // The appends are on disk; if upkeep fails it is tried again after the next one, and `fold` reports.
        try? upkeep()
      })
  }

  /// Gives every ticket its outcome.
  private func commit(_ tickets: [AppendTicket]) {
    do throws(StoreError) {
      let writer = try leadingWriter()
      try writer.session.setSynced(syncsCommits)
      var batch = AppendBatch()
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
      if !batch.hasErased {
        memory.withLock { $0.overlay.learn(batch.fresh, from: batch.firstSeq, nextSeq: meta.nextSeq) }
      }
      writer.meta = meta
      for (ticket, outcome) in zip(tickets, batch.outcomes) { ticket.outcome = outcome }
    } catch {
      note(error)
      for ticket in tickets { ticket.outcome = .failure(error) }
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
      throw .poisoned("\(path): the model was replaced by another process, open the store anew")
    }
    return generation
  }

  // MARK: One ticket

  /// What a transaction has done so far.
  private struct AppendBatch {
    var firstSeq: Int64 = 0
    var fresh: ContiguousArray<TailRow> = []
    /// Lengths of users that this transaction has written to.
    var lengths: [UserID: Int] = [:]
    var outcomes: [Result<[Int], StoreError>] = []
    var hasErased = false
  }

  /// One run with its place.
  private struct PlacedRun {
    var user: UserID
    var position: Int
    var rows: Range<Int>
    var isReset: Bool
  }

  /// Places all runs of a ticket, then writes them.
  private func write(
    _ ticket: AppendTicket, _ generation: Generation, _ meta: inout Meta, _ batch: inout AppendBatch, _ writer: Writer
  ) throws(StoreError) -> [Int] {
    var placed: [PlacedRun] = []
    placed.reserveCapacity(ticket.runs.count)
    var lengths: [UserID: Int] = [:]
    var results: [Int] = []
    results.reserveCapacity(ticket.runs.count)
    for run in ticket.runs {
      let known: Int? = lengths[run.user] ?? batch.lengths[run.user]
      let (length, isReset) = if let known { (known, false) } else { try length(for: run, writer.session.reading) }
      let rows = try Self.rowsToWrite(run, length, skipsRepeats: ticket.skipsRepeats)
      guard rows.count <= Self.lengthLimit - length else {
        throw .invalidInput("user \(run.user): a history of more than \(Self.lengthLimit) positions")
      }
      lengths[run.user] = length + rows.count
      results.append(length + rows.count)
      if !rows.isEmpty {
        placed.append(PlacedRun(user: run.user, position: length, rows: rows, isReset: isReset))
      }
    }
    for run in placed { try write(run, ticket.entries, generation, &meta, &batch, writer) }
    for (user, length) in lengths { batch.lengths[user] = length }
    return results
  }

  /// The user's length now: overlay, then cache, then the newest block.
  private func length(for run: Run, _ session: ReadSession) throws(StoreError) -> (length: Int, isReset: Bool) {
    let user = run.user
    let (newest, cached) = memory.withLock { memory in
      let newest = memory.overlay.newest(of: user)
      return (newest, newest == nil ? memory.lengths.length(of: user) : nil)
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
    if newest == nil { memory.withLock { $0.lengths.set(length, for: user) } }
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
      meta.positions -= Int64(try eraseRows(of: run.user, writer))
      meta.eraseEpoch += 1
      meta.isErasePending = true
      batch.hasErased = true
    }
    var row = TailRow(
      seq: meta.nextSeq, user: run.user, position: UInt32(run.position), count: UInt32(run.rows.count),
      generation: UInt16(generation.id))
    if run.rows.count >= generation.blockCapacity {
      let tail = run.isReset ? [] : tailRows(of: run.user, batch)
      try extendBlocks(of: run.user, tail, to: generation, adding: entries, run.rows, arena: nil, writer)
      // A marker in the tail tells every process how long the history is now.
      row.position += row.count
      row.count = 0
    }
    try writer.insertTailRow(row, generation, entries, run.rows)
    batch.fresh.append(row)
    meta.nextSeq += 1
    meta.positions += Int64(run.rows.count)
  }

  /// The user's tail rows, those of the present transaction among them.
  private func tailRows(of user: UserID, _ batch: AppendBatch) -> [TailRow] {
    var rows = memory.withLock { $0.overlay.rows(of: user, below: .max, endingBeyond: 0) }
    if batch.lengths[user] != nil || batch.fresh.last?.user == user {
      rows += batch.fresh.filter { $0.user == user }
    }
    return rows
  }
}

extension StoreError {
  /// Whether the caller's request was refused before anything was written.
  var isRefusal: Bool {
    switch self {
    case .invalidInput, .positionConflict, .staleUser, .unknownUser: true
    case .notAStore, .alreadyExists, .newerFormat, .invalidModel, .damaged, .io, .database, .busy, .poisoned, .readOnly,
      .closed:
      false
    }
  }
}
