/// Salvage: what a damaged database still holds whole is copied, row by row and byte by byte, to a new one. A user
/// keeps the positions before the first that is damaged or missing: later ones could not keep their numbers. It
/// reads the source through a connection of its own, because a store with damaged key columns cannot be opened, and
/// never writes to it. Memory does not grow with the blocks; the tail takes one number per user in it.

package import CacheTypes

/// What a salvage kept and dropped.
package struct SalvageReport: Sendable {
  package var users = 0
  package var positions = 0
  package var rows = 0
  /// Positions that were dropped, as far as rows that can be read still name them.
  package var dropped: [(user: UserID, positions: Range<Int>)] = []
  /// Users whose rows are another model's.
  package var stale: [UserID] = []
  /// Whatever else could not be kept.
  package var problems: [String] = []

  package init() {}
}

/// Owns the source's connection.
package final class RowSalvage {
  package let model: ModelRecord
  package let element: ElementType
  package let columns: KeptColumns
  package let pageByteCount: Int
  private let session: ReadSession
  private let generations: [Int64: Generation]
  private let current: Generation
  private let meta: Meta?
  /// Positions that the source counts, 0 if its counters cannot be read.
  package var positionCount: Int { meta.map { Int($0.positions) } ?? 0 }

  private var report = SalvageReport()
  /// The user whose blocks are being looked at.
  private var number: UserNumber?
  private var owner: UserID?
  /// Ends of users that have tail rows.
  private var tailEnds: [UserID: Int] = [:]
  private var nextSeq: Int64 = 1
  /// Lines of a report that are kept one by one.
  private static let lineLimit = 10_000
  private static let stepRowCount = 16_384

  /// Opens the database that is to be salvaged.
  ///
  /// - Throws: `StoreError.damaged` if not even its model and its row formats can be told.
  package init(path: String, isImmutable: Bool) throws(StoreError) {
    session = try ReadSession(path: path, mode: isImmutable ? .immutable : .readOnly, cacheByteCount: 4 << 20)
    generations = try Generation.readAll(session.connection)
    do throws(StoreError) { meta = try session.readMeta() } catch {
      guard error.isDamage else { throw error }
      meta = nil
      report.problems.append("the counters cannot be read: \(error)")
    }
    guard let current = generations[meta?.generation ?? 0] ?? generations.values.max(by: { $0.id < $1.id }) else {
      throw .damaged("\(path): no generation is left")
    }
    self.current = current
    model = try ModelRecord.read(session.connection, id: current.modelID)
    element = current.layout.element
    columns = current.layout.columns
    pageByteCount = Int(try session.connection.integer("PRAGMA page_size") ?? 0)
  }

  /// Fills a database that `RowStore.create` has just made for the same model; nothing is left open.
  ///
  /// - Throws: `StoreError.busy` if somebody wrote to the source meanwhile.
  package func salvage(into path: String, progress: (Int) -> Void) throws(StoreError) -> SalvageReport {
    let target = try SalvageTarget(path: path)
    try target.begin()
    try target.setModel(id: current.modelID, generations.values.filter { $0.modelID == current.modelID })
    try copyBlocks(target, progress)
    try copyTail(target, progress)
    try target.finish(generation: current.id, nextSeq: nextSeq, positions: report.positions)
    // An error ends SQLite's snapshot, so rows may be those of two commits if somebody wrote between them.
    if let meta, try session.readMeta().nextSeq != meta.nextSeq {
      throw .busy("\(session.connection.path): somebody wrote to the store while it was being copied")
    }
    return report
  }

  // MARK: Blocks

  private func copyBlocks(_ target: SalvageTarget, _ progress: (Int) -> Void) throws(StoreError) {
    var end = 0
    var isStale = false
    let scan = try TableScan(session.connection, .block)
    try scan.forEach { (rows) throws(StoreError) in
      let number = BlockPlace.number(of: rows.integer(0))
      if number != self.number {
        (end, isStale) = (0, false)
        self.number = number
        owner = try findOwner(of: number)
      }
      guard let user = owner else { return }
      guard let place = try? RowPlace(rows, user: user) else {
        note("user \(user): position \(BlockPlace.position(of: rows.integer(0))): a row that cannot be told")
        return
      }
      if isAnotherModels(place.generation) {
        if !isStale { noteStale(user) }
        isStale = true
        return
      }
      guard place.position == end, isSound(rows, 3, place) else {
        noteDropped(user, min(end, place.position)..<place.end)
        return
      }
      if end == 0 {
        let isNew = number.isUserID ? true : try target.add(user, number)
        guard isNew else {
          note("user \(user) has two numbers: the blocks of number \(number.value) are dropped")
          owner = nil
          return
        }
        report.users += 1
      }
      try target.addBlock(rows)
      end = place.end
      report.positions += place.count
      try advance(target, progress)
    } unreadable: { keys, error in
      note("\(TableScan.Table.block.describe(keys)) cannot be read: \(error)")
    }
  }

  /// Whose blocks have this number; `nil` after noting that it cannot be told.
  private func findOwner(of number: UserNumber) throws(StoreError) -> UserID? {
    do throws(StoreError) {
      if let user = try session.user(of: number), number.isUserID || UserNumber(ownNumberOf: user) == nil {
        return user
      }
      note("the blocks of user number \(number.value) are nobody's: the table user does not have it")
    } catch {
      guard error.isDamage else { throw error }
      note("the blocks of user number \(number.value) are nobody's: \(error)")
    }
    return nil
  }

  // MARK: The tail

  private func copyTail(_ target: SalvageTarget, _ progress: (Int) -> Void) throws(StoreError) {
    var stale: Set<UserID> = []
    let scan = try TableScan(session.connection, .tail)
    try scan.forEach { (rows) throws(StoreError) in
      let row: TailRow
      do throws(StoreError) { row = try session.readTailRow(rows) } catch {
        guard error.isDamage else { throw error }
        note("tail row \(rows.integer(0)): \(error)")
        return
      }
      let place = RowPlace(row)
      if isAnotherModels(place.generation) {
        if stale.insert(place.user).inserted { noteStale(place.user) }
        return
      }
      let known = tailEnds[place.user]
      let end = if let known { known } else { try target.end(of: place.user) }
      tailEnds[place.user] = end
      // A marker says how long the history was: blocks before it may be gone.
      guard place.count > 0 else {
        if place.position > end { noteDropped(place.user, end..<place.position) }
        return
      }
      guard place.end > end else { return }
      guard place.position <= end, isSound(rows, 5, place) else {
        noteDropped(place.user, end..<place.end)
        return
      }
      if end == 0 { report.users += 1 }
      try target.addTailRow(rows, seq: nextSeq)
      nextSeq += 1
      report.positions += place.end - end
      tailEnds[place.user] = place.end
      try advance(target, progress)
    } unreadable: { keys, error in
      note("\(TableScan.Table.tail.describe(keys)) cannot be read: \(error)")
    }
  }

  // MARK: Rows

  private func isAnotherModels(_ generation: Int64) -> Bool {
    generations[generation].map { $0.modelID != current.modelID } ?? false
  }

  /// Whether a row's checksum holds and its payload can be unpacked.
  private func isSound(_ rows: borrowing Statement, _ column: Int32, _ place: RowPlace) -> Bool {
    guard let generation = generations[place.generation] else { return false }
    let expected = rows.integer(column)
    return unsafe rows.withBytes(column + 1) { payload in
      guard unsafe RowChecksum.of(place, payload) == expected, unsafe generation.codec.canHold(place.count, in: payload)
      else { return false }
      var entries = Entries(zeroed: generation.layout.shape, count: place.count)
      do throws(StoreError) {
        try unsafe generation.codec.unpack(
          payload, count: place.count, range: 0..<place.count, wanted: 0..<entries.layers.count, into: &entries, at: 0,
          place: "payload")
        return true
      } catch { return false }
    }
  }

  private func advance(_ target: SalvageTarget, _ progress: (Int) -> Void) throws(StoreError) {
    report.rows += 1
    guard report.rows.isMultiple(of: Self.stepRowCount) else { return }
    try target.step()
    progress(report.positions)
  }

  private func note(_ problem: String) {
    if report.problems.count < Self.lineLimit { report.problems.append(problem) }
  }

  private func noteStale(_ user: UserID) {
    if report.stale.count < Self.lineLimit, report.stale.last != user { report.stale.append(user) }
  }

  /// Puts what follows on the user's last dropped stretch together with it.
  private func noteDropped(_ user: UserID, _ positions: Range<Int>) {
    if let last = report.dropped.last, last.user == user, positions.lowerBound <= last.positions.upperBound {
      let start = min(last.positions.lowerBound, positions.lowerBound)
      report.dropped[report.dropped.count - 1].positions = start..<max(last.positions.upperBound, positions.upperBound)
    } else if report.dropped.count < Self.lineLimit {
      report.dropped.append((user, positions))
    } else {
      note("more than \(Self.lineLimit) stretches of positions are dropped")
    }
  }
}
