/// One user's rows on their way from SQLite to the codec: found, checked for gaps and for their checksums, copied,
/// unpacked. Readers, folds and migrations all go through here. The copies are needed because SQLite's bytes last only
/// until the next step, and because a length that a file claims must not be believed before the rows are there.

package import CacheTypes

/// The key columns of a stored row.
package struct RowPlace {
  package var user: UserID
  package var position: Int
  package var count: Int
  package var generation: Int64

  package var end: Int { position + count }

  package init(user: UserID, position: Int, count: Int, generation: Int64) {
    self.user = user
    self.position = position
    self.count = count
    self.generation = generation
  }

  init(_ row: TailRow) {
    user = row.user
    position = Int(row.position)
    count = Int(row.count)
    generation = Int64(row.generation)
  }

  /// Reads columns 0 to 2 of a block: position, count, generation.
  @inline(__always)
  init(_ statement: borrowing Statement, user: UserID) throws(StoreError) {
    let position = try statement.integer(0, atLeast: 0, "block.position")
    let count = try statement.integer(1, atLeast: 1, "block.count")
    guard position <= Int64(RowStore.lengthLimit), count <= Int64(RowStore.rowCountLimit) else {
      throw .damaged("\(statement.path): user \(user), position \(position): a block of \(count) positions")
    }
    self.user = user
    self.position = Int(position)
    self.count = Int(count)
    generation = try statement.integer(2, atLeast: 1, "block.generation")
  }
}

/// Owns copies of rows.
struct FoundRows: ~Copyable {
  private struct Row {
    var place: RowPlace
    /// The wanted positions of the row.
    var cut: Range<Int>
    var bytes: Range<Int>
  }
  private var rows: [Row] = []
  private var buffer = ByteBuffer(capacity: 16_384)
  private var newest: RowPlace?

  mutating func removeAll() {
    rows.removeAll(keepingCapacity: true)
    buffer.removeAll()
    newest = nil
  }

  // MARK: Finding

  /// Starts anew, with the user's newest block.
  mutating func startCollecting(_ user: UserID, _ session: ReadSession) throws(StoreError) -> RowPlace? {
    removeAll()
    session.blocksFromNewest.reset()
    session.blocksFromNewest.bind(user, at: 1)
    newest = try session.blocksFromNewest.step() ? try RowPlace(session.blocksFromNewest, user: user) : nil
    return newest
  }

  /// Copies the rows that hold `positions`: blocks from the newest back, then the tail in order. Blocks must meet, and
  /// reach down to the lowest wanted position; the tail must go on where blocks end.
  ///
  /// - Precondition: `startCollecting` was the last call; `tail` are the user's rows that end beyond its block.
  mutating func collect(_ positions: Range<Int>, _ tail: [TailRow], _ session: ReadSession) throws(StoreError) {
    defer { session.blocksFromNewest.reset() }
    let path = session.connection.path
    let blockEnd = newest?.end ?? 0
    if var place = newest {
      while true {
        let cut = positions.clamped(to: place.position..<place.end)
        if !cut.isEmpty { try add(session.blocksFromNewest, 3, place, cut) }
        guard place.position > positions.lowerBound else { break }
        let next = try session.blocksFromNewest.step() ? try RowPlace(session.blocksFromNewest, user: place.user) : nil
        guard next?.end ?? 0 == place.position else {
          throw .damaged(
            "\(path): user \(place.user): positions \(next?.end ?? 0) to \(place.position) are missing or held twice")
        }
        guard let next else { break }
        place = next
      }
    }
    var end = blockEnd
    for row in tail {
      guard Int(row.position) <= end else {
        throw .damaged("\(path): user \(row.user): positions \(end) to \(row.position) are missing")
      }
      let cut = positions.clamped(to: end..<max(end, row.end))
      end = max(end, row.end)
      if !cut.isEmpty { try add(row, cut, session) }
    }
  }

  /// Copies a tail row, read by its number.
  mutating func add(_ row: TailRow, _ cut: Range<Int>, _ session: ReadSession) throws(StoreError) {
    session.tailRow.bind(row.seq, at: 1)
    defer { session.tailRow.reset() }
    let path = session.connection.path
    guard try session.tailRow.step() else { throw .damaged("\(path): tail row \(row.seq) is missing") }
    let place = RowPlace(row)
    guard try session.tailRow.user(0) == row.user, session.tailRow.integer(1) == Int64(place.position),
      session.tailRow.integer(2) == Int64(place.count), session.tailRow.integer(3) == place.generation
    else { throw .damaged("\(path): tail row \(row.seq) is not the one that was indexed") }
    try add(session.tailRow, 4, place, cut)
  }

  /// Copies the row that a statement stands on: `column` is its checksum, the next one its payload.
  mutating func add(
    _ statement: borrowing Statement, _ column: Int32, _ place: RowPlace, _ cut: Range<Int>
  ) throws(StoreError) {
    guard place.count <= RowStore.rowCountLimit else {
      throw .damaged(
        "\(statement.path): user \(place.user), position \(place.position): \(place.count) positions in a row")
    }
    let checksum = statement.integer(column)
    let path = statement.path
    try unsafe statement.withBytes(column + 1) { (payload) throws(StoreError) in
      guard unsafe RowChecksum.of(place, payload) == checksum else {
        throw .damaged("\(path): user \(place.user), position \(place.position): the row's checksum does not match")
      }
      unsafe add(payload, place, cut)
    }
  }

  /// Copies a payload whose checksum was verified.
  mutating func add(_ payload: UnsafeRawBufferPointer, _ place: RowPlace, _ cut: Range<Int>) {
    let start = buffer.count
    unsafe buffer.append(payload)
    rows.append(Row(place: place, cut: cut, bytes: start..<buffer.count))
  }

  // MARK: Unpacking

  /// Checks that every copy is of the model's and long enough for the positions it claims: what is unpacked into is
  /// allocated after that.
  func check(modelID: Int64, _ store: RowStore, _ session: ReadSession) throws(StoreError) {
    for row in rows {
      let generation = try store.generation(row.place.generation, session)
      let place = "\(store.path): user \(row.place.user), position \(row.place.position)"
      guard generation.modelID == modelID else {
        throw .damaged("\(place): a row of another model than its neighbours")
      }
      let isLongEnough = unsafe generation.codec.canHold(
        row.place.count, in: UnsafeRawBufferPointer(rebasing: buffer.bytes[row.bytes]))
      guard isLongEnough else { throw .damaged("\(place): the payload is not that of \(row.place.count) positions") }
    }
  }

  /// Unpacks every copy: position p goes to place p + `offset` of `entries`.
  ///
  /// - Precondition: `check` found nothing.
  func unpack(
    into entries: inout Entries, at offset: Int, layers: Range<Int>? = nil, _ store: RowStore, _ session: ReadSession
  ) throws(StoreError) {
    for row in rows {
      let codec = try store.generation(row.place.generation, session).codec
      let position = row.place.position
      try unsafe codec.unpack(
        UnsafeRawBufferPointer(rebasing: buffer.bytes[row.bytes]), count: row.place.count,
        range: row.cut.lowerBound - position..<row.cut.upperBound - position,
        wanted: layers ?? 0..<entries.layers.count, into: &entries, at: row.cut.lowerBound + offset,
        place: "\(store.path): user \(row.place.user), position \(position)")
    }
  }
}
