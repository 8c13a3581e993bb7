/// Vacuum: everything folded, then optionally every row re-encoded under a new generation in one transaction, then the
/// database rewritten without free space. The database file is never replaced by another one: other processes may have
/// it open, and their writes would be lost.

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
  /// - Parameter progress: users re-encoded, of how many are expected.
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
      let reencoded = try reencode(plan, writer, progress)
      try rewrite(plan, writer)
      _ = try finishErasing(writer)
      return (folded, reencoded)
    }
  }

  /// Whether blocks must be written anew, and in which generation.
  private func reencode(
    _ plan: VacuumPlan, _ writer: Writer, _ progress: (Int, Int) -> Void
  ) throws(StoreError) -> Int {
    try writer.session.setSynced(true)
    let pageByteCount = plan.pageByteCount ?? pageByteCount
    let (count, _) = try writer.session.transaction { (meta) throws(StoreError) in
      try beginWriting(meta, writer)
      let current = try currentGeneration(meta, writer.session.reading)
      let element = plan.element ?? current.layout.element
      let isMigration = element != current.layout.element
      // Eight-bit blocks are not written anew while they stay eight-bit: that would round them twice. Their open last
      // blocks get the final form.
      let isPartial = !isMigration && element == .i8
      guard isMigration || isPartial || pageByteCount != self.pageByteCount else { return 0 }
      var id = current.id
      if isMigration {
        let layout = RowLayout(shape: current.layout.shape, element: element, columns: current.layout.columns)
        id = try Generation.insert(writer.session.connection, modelID: modelID, layout: layout)
        meta.generation = id
      }
      let layout = RowLayout(shape: current.layout.shape, element: element, columns: current.layout.columns)
      let target = Generation(id: id, modelID: modelID, layout: layout, pageByteCount: pageByteCount)
      memory.withLock { $0.generations[id] = target }
      let expected = Int(meta.positions) / max(current.blockCapacity, 1) + 1
      let users = try rewriteUsers(to: target, onlyOpenBlocks: isPartial, writer) { done in progress(done, expected) }
      if !isPartial {
        // Rows that arrived since the fold are in blocks now.
        writer.session.deleteTailRange.bind(meta.foldedSeq, at: 1)
        writer.session.deleteTailRange.bind(meta.nextSeq - 1, at: 2)
        try writer.session.deleteTailRange.run()
        meta.foldedSeq = meta.nextSeq - 1
      }
      return users
    }
    return count
  }

  /// Writes users' blocks anew in `target`; stale users' rows stay as they are.
  private func rewriteUsers(
    to target: Generation, onlyOpenBlocks: Bool, _ writer: Writer, _ progress: (Int) -> Void
  ) throws(StoreError) -> Int {
    let session = writer.session.reading
    let tailUsers = onlyOpenBlocks ? [] : memory.withLock { $0.overlay.users() }
    var rewritten = 0
    var user = try session.blockUser(after: nil)
    while let current = user {
      if try rewrite(current, to: target, onlyOpenBlocks: onlyOpenBlocks, writer) { rewritten += 1 }
      if rewritten % 1_024 == 0 { progress(rewritten) }
      user = try session.blockUser(after: current)
    }
    for user in tailUsers where try session.newestBlock(of: user) == nil {
      if try rewrite(user, to: target, onlyOpenBlocks: false, writer) { rewritten += 1 }
    }
    progress(rewritten)
    return rewritten
  }

  private func rewrite(
    _ user: UserID, to target: Generation, onlyOpenBlocks: Bool, _ writer: Writer
  ) throws(StoreError) -> Bool {
    let session = writer.session.reading
    let newest = try writer.found.startCollecting(user, session)
    defer { session.blocksFromNewest.reset() }
    let tail = memory.withLock { $0.overlay.rows(of: user, below: .max, endingBeyond: newest?.end ?? 0) }
    guard let id = tail.last.map({ Int64($0.generation) }) ?? newest?.generation,
      try generation(id, session).modelID == modelID
    else { return false }
    if onlyOpenBlocks {
      guard let newest, newest.count < target.blockCapacity, try isOpen(newest, session) else { return false }
      try extendBlocks(of: user, [], to: target, sealsAll: true, writer)
      return true
    }
    let length = tail.last?.end ?? newest!.end
    try writer.found.collect(0..<length, tail, session)
    try writer.found.check(modelID: modelID, self, session)
    let columns = target.layout.columns
    var entries = Entries(
      zeroed: target.layout.shape, count: length, keepsItems: columns.contains(.items),
      keepsTimestamps: columns.contains(.timestamps))
    try writer.found.unpack(into: &entries, at: 0, self, session)
    do throws(StoreError) { try entries.validate(against: target.layout.shape, element: target.layout.element) } catch {
      throw .invalidInput("user \(user) has a number that the new element type cannot hold: \(error)")
    }
    writer.session.deleteBlocks.bind(user, at: 1)
    writer.session.deleteBlocks.bind(0, at: 2)
    try writer.session.deleteBlocks.run()
    try writer.writeBlocks(user, from: 0, target, entries, sealsAll: true)
    return true
  }

  /// Whether the block that the newest-first statement stands on holds what arrived, not its final form.
  private func isOpen(_ block: RowPlace, _ session: ReadSession) throws(StoreError) -> Bool {
    let generation = try generation(block.generation, session)
    return unsafe session.blocksFromNewest.withBytes(4) { payload in
      unsafe generation.codec.element(of: payload) == generation.arrival
    }
  }

  /// Gives the free space back.
  private func rewrite(_ plan: VacuumPlan, _ writer: Writer) throws(StoreError) {
    dropIdleReaders()
    if let wanted = plan.pageByteCount, wanted != pageByteCount {
      try writer.session.changePageSize(to: wanted)
      memory.withLock { $0.pageByteCount = wanted }
    } else {
      try writer.session.vacuum()
    }
    _ = try writer.session.connection.checkpoint(truncate: true)
    writer.session.framesInLog = 0
  }
}
