/// What the writing thread works with: the connection, scratch bytes, the fold in progress. Only the leader of the
/// store's WriterQueue touches it.

package import CacheTypes

/// Rows of a batch that belong to one user, in order.
package struct Run: Sendable {
  package var user: UserID
  /// Which positions of the batch's entries.
  package var rows: Range<Int>
  /// The position that the first of them must get; `nil`: whatever comes next.
  package var expectedPosition: Int?
  /// Whether a user whose rows belong to another model starts anew.
  package var resetsStaleUser: Bool

  package init(user: UserID, rows: Range<Int>, expectedPosition: Int? = nil, resetsStaleUser: Bool = false) {
    self.user = user
    self.rows = rows
    self.expectedPosition = expectedPosition
    self.resetsStaleUser = resetsStaleUser
  }
}

/// Owned by the writing thread.
final class Writer {
  let session: WriteSession
  var scratch = ByteBuffer()
  /// Packed tail rows that wait to be inserted, and their payloads.
  private var newTailRows: [(row: TailRow, payload: Range<Int>)] = []
  private var tailPayloads = ByteBuffer()
  var found = FoundRows()
  var fold: FoldPass?
  /// The counters as the newest commit of this connection left them.
  var meta: Meta?

  init(session: WriteSession) { self.session = session }

  // MARK: Tail rows

  /// Packs one tail row; it is inserted together with its neighbours, at the latest by `insertTailRows`.
  func addTailRow(
    _ row: TailRow, _ generation: Generation, _ entries: borrowing Entries, _ rows: Range<Int>
  ) throws(StoreError) {
    let start = tailPayloads.count
    if row.count > 0 { generation.codec.pack(entries, rows, as: generation.arrival, into: &tailPayloads) }
    newTailRows.append((row, start..<tailPayloads.count))
    guard newTailRows.count == WriteSession.tailBatchCount else { return }
    for (place, row) in newTailRows.enumerated() {
      bind(row, session.insertTailBatch, from: Int32(place) * WriteSession.tailColumnCount + 1)
    }
    try session.insertTailBatch.run()
    dropTailRows()
  }

  /// Inserts the tail rows that still wait: they must be there before anything reads or deletes the tail, and before
  /// the transaction ends.
  func insertTailRows() throws(StoreError) {
    for row in newTailRows {
      bind(row, session.insertTail, from: 1)
      try session.insertTail.run()
    }
    dropTailRows()
  }

  /// Forgets tail rows whose transaction failed.
  func dropTailRows() {
    newTailRows.removeAll(keepingCapacity: true)
    tailPayloads.removeAll()
  }

  private func bind(_ new: (row: TailRow, payload: Range<Int>), _ statement: borrowing Statement, from first: Int32) {
    statement.bind(new.row.seq, at: first)
    statement.bind(new.row.user, at: first + 1)
    statement.bind(Int(new.row.position), at: first + 2)
    unsafe bindRow(
      statement, from: first + 3, RowPlace(new.row), UnsafeRawBufferPointer(rebasing: tailPayloads.bytes[new.payload]))
  }

  // MARK: Blocks

  /// Writes positions from `first` on as blocks: full ones, and at most one that is not.
  func writeBlocks(
    _ user: UserID, from first: Int, _ generation: Generation, _ entries: borrowing Entries
  ) throws(StoreError) {
    let number = try session.numberForWriting(user)
    var place = 0
    while place < entries.count {
      let count = min(generation.blockCapacity, entries.count - place)
      let isFull = count == generation.blockCapacity
      scratch.removeAll()
      generation.codec.pack(
        entries, place..<place + count, as: isFull ? generation.layout.element : generation.arrival, into: &scratch)
      try writeBlock(
        RowPlace(user: user, position: first + place, count: count, generation: generation.id), number)
      place += count
    }
  }

  /// Writes positions in final rows that end where pages end.
  ///
  /// - Parameters:
  ///   - isCut: whether `pack` cuts a short row, which a page must not be left half empty for.
  ///   - pack: appends the payload of some of the positions.
  func writeFilling(
    _ user: UserID, _ number: UserNumber, _ positions: Range<Int>, isCut: Bool = false, _ generation: Generation,
    _ fill: inout PageFill, _ pack: (Range<Int>, inout ByteBuffer) -> Void
  ) throws(StoreError) {
    var position = positions.lowerBound
    while position < positions.upperBound {
      let key = BlockPlace.key(number, position)
      let budget = fill.budget(for: key, leastShare: isCut ? 32 : 8)
      var count = min(
        generation.layout.capacity(ofByteCount: budget), positions.upperBound - position, RowStore.rowCountLimit)
      scratch.removeAll()
      pack(position..<position + count, &scratch)
      // What optional columns need is known only now.
      while scratch.count > budget, count > 1 {
        count = max(1, min(count - 1, count * budget / scratch.count))
        scratch.removeAll()
        pack(position..<position + count, &scratch)
      }
      try writeBlock(RowPlace(user: user, position: position, count: count, generation: generation.id), number)
      fill.add(key: key, count: count, generation: generation.id, payloadByteCount: scratch.count)
      position += count
    }
  }

  /// Writes the packed block in `scratch`.
  private func writeBlock(_ place: RowPlace, _ number: UserNumber) throws(StoreError) {
    session.replaceBlock.bind(BlockPlace.key(number, place.position), at: 1)
    unsafe bindRow(session.replaceBlock, from: 2, place, scratch.bytes)
    try session.replaceBlock.run()
  }

  /// Binds what rows of both tables have: count, generation, checksum, payload.
  private func bindRow(
    _ statement: borrowing Statement, from parameter: Int32, _ place: RowPlace, _ payload: UnsafeRawBufferPointer
  ) {
    statement.bind(place.count, at: parameter)
    statement.bind(place.generation, at: parameter + 1)
    statement.bind(unsafe RowChecksum.of(place, payload), at: parameter + 2)
    unsafe statement.bind(borrowing: payload, at: parameter + 3)
  }
}
