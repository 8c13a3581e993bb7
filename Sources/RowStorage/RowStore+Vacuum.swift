/// Vacuum: everything folded, every history written anew in rows that fill pages, then the database rewritten without
/// free space. A new element type is a new generation, and one transaction for all histories; otherwise they are
/// written slice by slice. The database file is never replaced by another one: other processes may have it open, and
/// their writes would be lost.

package import CacheTypes

/// What vacuum is asked for.
package struct VacuumPlan: Sendable {
  package var element: ElementType?
  package var pageByteCount: Int?
  package init(element: ElementType? = nil, pageByteCount: Int? = nil) {
    self.element = element
    self.pageByteCount = pageByteCount
  }
}

extension RowStore {
  /// Users whose blocks one transaction writes anew.
  private static let vacuumSliceUserCount = 512

  /// - Parameter progress: positions written anew, of how many.
  /// - Returns: tail rows folded, users re-encoded.
  /// - Throws: `StoreError.busy` if the page size cannot change while other connections are open.
  package func vacuum(
    _ plan: VacuumPlan, progress: (Int, Int) -> Void
  ) throws(StoreError) -> (foldedRows: Int, reencodedUsers: Int) {
    try writing { (writer) throws(StoreError) in
      let folded = try foldAll(writer, downTo: 0)
      // A migration that failed leaves a generation behind in memory that the database does not have.
      defer {
        if let all = try? Generation.readAll(writer.session.connection) { memory.withLock { $0.generations = all } }
      }
      var fill = PageFill(pageByteCount: plan.pageByteCount ?? pageByteCount)
      let reencoded = try migrate(plan, &fill, writer, progress)
      if reencoded == nil { try arrange(&fill, writer, progress) }
      try rewrite(plan, writer)
      return (folded, reencoded ?? 0)
    }
  }

  // MARK: All histories

  /// Writes every history in another element type, in one transaction.
  ///
  /// - Returns: users written anew; `nil` if the rows have that element type already.
  private func migrate(
    _ plan: VacuumPlan, _ fill: inout PageFill, _ writer: Writer, _ progress: (Int, Int) -> Void
  ) throws(StoreError) -> Int? {
    guard let element = plan.element else { return nil }
    try writer.session.setSynced(true)
    let (count, _) = try writer.session.transaction { (meta) throws(StoreError) -> Int? in
      try beginWriting(meta, writer)
      let current = try currentGeneration(meta, writer.session.reading)
      guard element != current.layout.element else { return nil }
      // Rows that arrived since the fold.
      for user in memory.withLock({ $0.overlay.users() }) { try foldUser(user, to: current, writer) }
      writer.session.deleteTailRange.bind(meta.foldedSeq, at: 1)
      writer.session.deleteTailRange.bind(meta.nextSeq - 1, at: 2)
      try writer.session.deleteTailRange.run()
      meta.foldedSeq = meta.nextSeq - 1
      let layout = RowLayout(shape: current.layout.shape, element: element, columns: current.layout.columns)
      meta.generation = try Generation.insert(writer.session.connection, modelID: modelID, layout: layout)
      let target = Generation(
        id: meta.generation, modelID: modelID, layout: layout, pageByteCount: plan.pageByteCount ?? pageByteCount)
      memory.withLock { $0.generations[target.id] = target }
      var pass = Pass(isMigration: true, total: Int(meta.positions))
      while try rewriteNext(&pass, to: target, &fill, writer) {
        if pass.userCount.isMultiple(of: Self.vacuumSliceUserCount) { pass.report(progress) }
      }
      return pass.userCount
    }
    return count
  }

  /// Writes every history anew, so that rows end where pages end. Nothing waits for the disk: what a loss of power
  /// takes is arranged as before.
  private func arrange(
    _ fill: inout PageFill, _ writer: Writer, _ progress: (Int, Int) -> Void
  ) throws(StoreError) {
    try writer.session.setSynced(false)
    var pass = Pass(isMigration: false, total: 0)
    var isAtEnd = false
    while !isAtEnd {
      (isAtEnd, _) = try withoutTailRows(writer) { (meta) throws(StoreError) in
        let target = try currentGeneration(meta, writer.session.reading)
        pass.total = Int(meta.positions)
        for _ in 0..<Self.vacuumSliceUserCount {
          guard try rewriteNext(&pass, to: target, &fill, writer) else { return true }
        }
        return false
      }
      pass.report(progress)
      if writer.session.framesInLog >= Self.checkpointPageCount { try checkpoint(writer) }
    }
  }

  /// How far a pass over all blocks has come.
  private struct Pass {
    let isMigration: Bool
    var total: Int
    /// Blocks from this key on are still to be written; `nil`: none.
    var key: Int64? = .min
    var userCount = 0
    var positionCount = 0

    func report(_ progress: (Int, Int) -> Void) { progress(positionCount, max(total, positionCount)) }
  }

  // MARK: One history

  /// Writes the blocks of the next user anew. Those of another model stay as they are. So do damaged ones, and those
  /// with numbers too large for the element type, unless that changes now, which must not leave anybody behind.
  ///
  /// - Returns: false if there is no next user.
  private func rewriteNext(
    _ pass: inout Pass, to target: Generation, _ fill: inout PageFill, _ writer: Writer
  ) throws(StoreError) -> Bool {
    let session = writer.session.reading
    guard let key = pass.key, let number = try session.blockNumber(from: key) else { return false }
    let last = BlockPlace.last(number)
    pass.key = last < .max ? last + 1 : nil
    var entries: Entries?
    var user: UserID?
    do throws(StoreError) {
      user = try session.user(of: number)
      if let user { entries = try blockEntries(of: user, target, writer) }
    } catch {
      guard case .damaged = error, !pass.isMigration else { throw error }
    }
    guard let user, let entries else {
      try leave(number, &fill, session)
      return true
    }
    do throws(StoreError) { try entries.validate(against: target.layout.shape, element: target.layout.element) } catch {
      guard !pass.isMigration else {
        throw .invalidInput("user \(user) has a number that the new element type cannot hold: \(error)")
      }
      // Rows of a model that was replaced, and came back after the element type had changed.
      try leave(number, &fill, session)
      return true
    }
    try writer.session.deleteBlocks(number)
    for stretch in writer.found.stretches(sealedIn: target) {
      switch stretch {
      case .open(let positions):
        try writer.writeFilling(user, number, positions, target, &fill) { rows, scratch in
          target.codec.pack(entries, rows, as: target.layout.element, into: &scratch)
        }
      case .sealed(let row, let positions):
        try writer.writeFilling(user, number, positions, isCut: true, target, &fill) { rows, scratch in
          writer.found.slice(row, rows, target.codec, into: &scratch)
        }
      }
    }
    pass.userCount += 1
    pass.positionCount += entries.count
    return true
  }

  /// Collects a user's blocks in `writer.found` and unpacks them.
  ///
  /// - Returns: `nil` if they are another model's.
  private func blockEntries(of user: UserID, _ target: Generation, _ writer: Writer) throws(StoreError) -> Entries? {
    let session = writer.session.reading
    let newest = try writer.found.startCollecting(user, session)
    defer { session.blocksFromNewest.reset() }
    guard let newest, try generation(newest.generation, session).modelID == modelID else { return nil }
    try writer.found.collect(0..<newest.end, [], session)
    try writer.found.check(modelID: modelID, self, session)
    let columns = target.layout.columns
    var entries = Entries(
      zeroed: target.layout.shape, count: newest.end, keepsItems: columns.contains(.items),
      keepsTimestamps: columns.contains(.timestamps))
    try writer.found.unpack(into: &entries, at: 0, self, session)
    return entries
  }

  /// Takes note of blocks that stay as they are.
  private func leave(_ number: UserNumber, _ fill: inout PageFill, _ session: ReadSession) throws(StoreError) {
    session.bindBlocks(number)
    defer { session.blocksFromNewest.reset() }
    while try session.blocksFromNewest.step() {
      fill.add(
        key: session.blocksFromNewest.integer(0), count: Int(session.blocksFromNewest.integer(1)),
        generation: session.blocksFromNewest.integer(2),
        payloadByteCount: unsafe session.blocksFromNewest.withBytes(4) { $0.count })
    }
  }

  // MARK: The file

  /// Gives the free space back.
  private func rewrite(_ plan: VacuumPlan, _ writer: Writer) throws(StoreError) {
    // The log is emptied afterwards while other writers wait, and readers that never pause would hold it between their
    // reads as well: where something is to be erased, nobody's snapshot stands.
    _ = try withoutTailRows(writer) { (meta) throws(StoreError) in meta.isErasePending = true }
    readers.dropIdle()
    do throws(StoreError) {
      if let wanted = plan.pageByteCount, wanted != pageByteCount {
        try writer.session.changePageSize(to: wanted)
        memory.withLock { $0.pageByteCount = wanted }
      } else {
        try writer.session.vacuum()
      }
    } catch {
      _ = try? finishErasing(writer, milliseconds: Self.idleSnapshotMilliseconds)
      throw error
    }
    guard try finishErasing(writer, milliseconds: Connection.busyTimeoutMilliseconds) else { return }
    // Nothing is left in the log but the commit that said so.
    readers.endIdleSnapshots()
    writer.session.connection.setBusyTimeout(milliseconds: 0)
    defer { writer.session.connection.setBusyTimeout(milliseconds: Connection.busyTimeoutMilliseconds) }
    _ = try writer.session.connection.checkpoint(truncate: true)
    writer.session.framesInLog = 0
  }
}
