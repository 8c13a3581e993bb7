/// Growing a user's blocks: the open last block, tail rows and new entries are put together and written as full blocks
/// and at most one open one. Folds and straight runs both go through here.

internal import CacheTypes

extension RowStore {
  /// Writes tail rows and, after them, new entries to a user's blocks. Positions that blocks hold already are skipped,
  /// so doing it twice is the same as doing it once.
  ///
  /// - Parameters:
  ///   - tail: the user's tail rows in order.
  ///   - target: the generation that the blocks get.
  ///   - position: the place of the first new entry.
  ///   - arena: payloads read in advance; what is not there is read by its number.
  func extendBlocks(
    of user: UserID, _ tail: [TailRow], to target: Generation, adding entries: Entries? = nil,
    _ rows: Range<Int> = 0..<0, at position: Int = 0, arena: TailArena? = nil, _ writer: Writer
  ) throws(StoreError) {
    let session = writer.session.reading
    let open = try openBlock(of: user, target, writer)
    let start = open.lowerBound
    var next = open.upperBound
    for row in tail where row.count > 0 && row.end > next {
      guard Int(row.position) <= next else {
        throw .damaged("\(path): user \(user): positions \(next) to \(row.position) are missing")
      }
      let isRead = arena?.copy(row, next..<row.end, into: &writer.found) ?? false
      if !isRead { try writer.found.add(row, next..<row.end, session) }
      next = row.end
    }
    let storedCount = next - start
    guard rows.isEmpty || next == position else {
      throw .damaged("\(path): user \(user): \(next) positions where \(position) were counted")
    }
    // What is in blocks already, and was not to be written in another form, stays.
    guard next > open.upperBound || !rows.isEmpty else { return }
    let total = storedCount + rows.count
    try writer.found.check(modelID: target.modelID, self, session)
    let columns = target.layout.columns
    var merged = Entries(
      zeroed: target.layout.shape, count: total, keepsItems: columns.contains(.items),
      keepsTimestamps: columns.contains(.timestamps))
    try writer.found.unpack(into: &merged, at: -start, self, session)
    if let entries { merged.replace(from: storedCount, with: entries, rows) }
    try checkNumbers(of: user, merged, target)
    try writer.writeBlocks(user, from: start, target, merged)
  }

  /// Eight-bit blocks need finite numbers; nothing was stored that is not, unless it was damaged.
  private func checkNumbers(of user: UserID, _ entries: Entries, _ target: Generation) throws(StoreError) {
    guard target.layout.element == .i8 else { return }
    do throws(StoreError) { try entries.validate(against: target.layout.shape, element: .i8) } catch {
      throw .damaged("\(path): user \(user): \(error)")
    }
  }

  /// Where the user's blocks can go on: the open last block, which is added to `writer.found`, or the end.
  private func openBlock(of user: UserID, _ target: Generation, _ writer: Writer) throws(StoreError) -> Range<Int> {
    let session = writer.session.reading
    let newest = try writer.found.startCollecting(user, session)
    defer { session.blocksFromNewest.reset() }
    guard let newest else { return 0..<0 }
    let generation = try generation(newest.generation, session)
    guard generation.modelID == target.modelID else {
      throw .damaged("\(path): user \(user): the newest block is of another model than the rows after it")
    }
    guard newest.count < target.blockCapacity else { return newest.end..<newest.end }
    // Left from before the element type changed, while another model was in use: the present one may be too narrow.
    guard generation.arrival == target.arrival else { return newest.end..<newest.end }
    // Eight-bit blocks are final: their numbers are never rounded twice.
    let isSealed = unsafe session.blocksFromNewest.withBytes(4) { payload in
      unsafe generation.codec.element(of: payload) != generation.arrival
    }
    guard !isSealed else { return newest.end..<newest.end }
    try writer.found.add(session.blocksFromNewest, 3, newest, newest.position..<newest.end)
    return newest.position..<newest.end
  }
}
