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
  var found = FoundRows()
  var fold: FoldPass?
  /// The counters as the newest commit of this connection left them.
  var meta: Meta?

  init(session: WriteSession) { self.session = session }

  /// Packs and inserts one tail row.
  func insertTailRow(
    _ row: TailRow, _ generation: Generation, _ entries: borrowing Entries, _ rows: Range<Int>
  ) throws(StoreError) {
    scratch.removeAll()
    if row.count > 0 { generation.codec.pack(entries, rows, as: generation.arrival, into: &scratch) }
    unsafe bindRow(session.insertTail, from: 2, RowPlace(row), scratch.bytes)
    session.insertTail.bind(row.seq, at: 1)
    try session.insertTail.run()
  }

  /// Writes positions from `first` on as blocks: full ones, and at most one that is not.
  ///
  /// - Parameter sealsAll: the last block, too, gets its final element type.
  func writeBlocks(
    _ user: UserID, from first: Int, _ generation: Generation, _ entries: borrowing Entries, sealsAll: Bool
  ) throws(StoreError) {
    var place = 0
    while place < entries.count {
      let count = min(generation.blockCapacity, entries.count - place)
      let isFinal = sealsAll || count == generation.blockCapacity
      try writeBlock(
        RowPlace(user: user, position: first + place, count: count, generation: generation.id), generation, entries,
        place..<place + count, as: isFinal ? generation.layout.element : generation.arrival)
      place += count
    }
  }

  /// Packs and writes one block.
  private func writeBlock(
    _ place: RowPlace, _ generation: Generation, _ entries: borrowing Entries, _ rows: Range<Int>,
    as element: ElementType
  ) throws(StoreError) {
    scratch.removeAll()
    generation.codec.pack(entries, rows, as: element, into: &scratch)
    unsafe bindRow(session.replaceBlock, from: 1, place, scratch.bytes)
    try session.replaceBlock.run()
  }

  private func bindRow(
    _ statement: borrowing Statement, from parameter: Int32, _ place: RowPlace, _ payload: UnsafeRawBufferPointer
  ) {
    statement.bind(place.user, at: parameter)
    statement.bind(place.position, at: parameter + 1)
    statement.bind(place.count, at: parameter + 2)
    statement.bind(place.generation, at: parameter + 3)
    statement.bind(unsafe RowChecksum.of(place, payload), at: parameter + 4)
    unsafe statement.bind(borrowing: payload, at: parameter + 5)
  }
}
