/// One user's rows on their way from SQLite to the codec: found, checked for gaps and for their checksums, then
/// unpacked on the spot (reads) or copied and unpacked later (folds, vacuum, very long reads). Copies are needed where
/// bytes must outlive the next step, and where a length that a file claims must not be believed before the rows are
/// there.

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

  /// Reads columns 0 to 2 of a block: place, count, generation.
  @inline(__always)
  init(_ statement: borrowing Statement, user: UserID) throws(StoreError) {
    // Anything but integers here comes out as some number, and does not match the checksum.
    position = BlockPlace.position(of: statement.integer(0))
    let count = statement.integer(1)
    guard position <= RowStore.lengthLimit, 1...Int64(RowStore.rowCountLimit) ~= count else {
      throw .damaged("\(statement.path): user \(user), position \(position): a block of \(count) positions")
    }
    self.user = user
    self.count = Int(count)
    generation = statement.integer(2)
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
  /// A buffer that one long history has made larger than this is given back.
  private static let keptByteCount = 1 << 20
  private var rows: [Row] = []
  private var buffer = ByteBuffer(capacity: 16_384)
  private var newest: RowPlace?
  /// The generation that was looked up last.
  private var known: Generation?

  mutating func removeAll() {
    rows.removeAll(keepingCapacity: true)
    if buffer.capacity > Self.keptByteCount { buffer = ByteBuffer(capacity: 16_384) } else { buffer.removeAll() }
    newest = nil
    known = nil
  }

  // MARK: Finding

  /// Starts anew, with the user's newest block.
  mutating func startCollecting(_ user: UserID, _ session: ReadSession) throws(StoreError) -> RowPlace? {
    removeAll()
    guard let number = try session.number(of: user) else { return nil }
    newest = try session.startBlocks(of: user, number)
    return newest
  }

  /// Copies the rows that hold `positions`.
  ///
  /// - Precondition: `startCollecting` was the last call; `tail` are the user's rows that end beyond its block.
  mutating func collect(_ positions: Range<Int>, _ tail: [TailRow], _ session: ReadSession) throws(StoreError) {
    try unsafe Self.walk(newest, positions, tail, session) { (payload, place, cut) throws(StoreError) in
      unsafe add(payload, place, cut)
    }
  }

  /// Unpacks the rows that hold `positions` as they are found, without a copy: position p goes to place p + `offset` of
  /// `entries`, which were given their room on the word of rows that nobody has looked at yet.
  ///
  /// - Precondition: as for `collect`.
  mutating func unpack(
    _ positions: Range<Int>, _ tail: [TailRow], into entries: inout Entries, at offset: Int, layers: Range<Int>?,
    newestGeneration: Generation, _ store: RowStore, _ session: ReadSession
  ) throws(StoreError) {
    known = newestGeneration
    let layers = layers ?? 0..<entries.layers.count
    try unsafe Self.walk(newest, positions, tail, session) { (payload, place, cut) throws(StoreError) in
      let generation = try generation(place.generation, store, session)
      guard generation.modelID == store.modelID else {
        throw .damaged("\(store.path): user \(place.user), position \(place.position): a row of another model")
      }
      try unsafe generation.codec.unpack(
        payload, count: place.count, range: cut.lowerBound - place.position..<cut.upperBound - place.position,
        wanted: layers, into: &entries, at: cut.lowerBound + offset,
        place: "\(store.path): user \(place.user), position \(place.position)")
    }
  }

  /// Hands the payloads that hold `positions` to `take`, checksums verified, each with the wanted positions of its row:
  /// blocks from the newest back, then the tail in order. Blocks must meet, and reach down to the lowest wanted
  /// position; the tail must go on where blocks end.
  private static func walk(
    _ newest: RowPlace?, _ positions: Range<Int>, _ tail: [TailRow], _ session: ReadSession,
    _ take: (UnsafeRawBufferPointer, RowPlace, Range<Int>) throws(StoreError) -> Void
  ) throws(StoreError) {
    defer { session.blocksFromNewest.reset() }
    let path = session.connection.path
    let blockEnd = newest?.end ?? 0
    if var place = newest {
      while true {
        let cut = positions.clamped(to: place.position..<place.end)
        if !cut.isEmpty { try unsafe verify(session.blocksFromNewest, 3, place, cut, take) }
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
      if !cut.isEmpty { try unsafe verify(row, cut, session, take) }
    }
  }

  /// Copies a tail row, read by its number.
  mutating func add(_ row: TailRow, _ cut: Range<Int>, _ session: ReadSession) throws(StoreError) {
    try unsafe Self.verify(row, cut, session) { (payload, place, cut) throws(StoreError) in
      unsafe add(payload, place, cut)
    }
  }

  /// Copies the row that a statement stands on: `column` is its checksum, the next one its payload.
  mutating func add(
    _ statement: borrowing Statement, _ column: Int32, _ place: RowPlace, _ cut: Range<Int>
  ) throws(StoreError) {
    try unsafe Self.verify(statement, column, place, cut) { (payload, place, cut) throws(StoreError) in
      unsafe add(payload, place, cut)
    }
  }

  private static func verify(
    _ row: TailRow, _ cut: Range<Int>, _ session: ReadSession,
    _ take: (UnsafeRawBufferPointer, RowPlace, Range<Int>) throws(StoreError) -> Void
  ) throws(StoreError) {
    session.tailRow.bind(row.seq, at: 1)
    defer { session.tailRow.reset() }
    let path = session.connection.path
    guard try session.tailRow.step() else { throw .damaged("\(path): tail row \(row.seq) is missing") }
    let place = RowPlace(row)
    guard try session.tailRow.user(0) == row.user, session.tailRow.integer(1) == Int64(place.position),
      session.tailRow.integer(2) == Int64(place.count), session.tailRow.integer(3) == place.generation
    else { throw .damaged("\(path): tail row \(row.seq) is not the one that was indexed") }
    try unsafe verify(session.tailRow, 4, place, cut, take)
  }

  private static func verify(
    _ statement: borrowing Statement, _ column: Int32, _ place: RowPlace, _ cut: Range<Int>,
    _ take: (UnsafeRawBufferPointer, RowPlace, Range<Int>) throws(StoreError) -> Void
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
      try unsafe take(payload, place, cut)
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
  mutating func check(modelID: Int64, _ store: RowStore, _ session: ReadSession) throws(StoreError) {
    for index in rows.indices {
      let generation = try generation(rows[index].place.generation, store, session)
      guard generation.modelID == modelID else {
        throw .damaged("\(name(of: index, store)): a row of another model than its neighbours")
      }
      let isLongEnough = unsafe generation.codec.canHold(
        rows[index].place.count, in: UnsafeRawBufferPointer(rebasing: buffer.bytes[rows[index].bytes]))
      guard isLongEnough else {
        throw .damaged("\(name(of: index, store)): the payload is not that of \(rows[index].place.count) positions")
      }
    }
  }

  /// Unpacks every copy: position p goes to place p + `offset` of `entries`.
  ///
  /// - Precondition: `check` found nothing.
  mutating func unpack(
    into entries: inout Entries, at offset: Int, layers: Range<Int>? = nil, _ store: RowStore, _ session: ReadSession
  ) throws(StoreError) {
    let layers = layers ?? 0..<entries.layers.count
    for index in rows.indices {
      let position = rows[index].place.position
      let cut = rows[index].cut
      try unsafe generation(rows[index].place.generation, store, session).codec.unpack(
        UnsafeRawBufferPointer(rebasing: buffer.bytes[rows[index].bytes]), count: rows[index].place.count,
        range: cut.lowerBound - position..<cut.upperBound - position, wanted: layers, into: &entries,
        at: cut.lowerBound + offset, place: name(of: index, store))
    }
  }

  // MARK: Rows that stay as they are

  /// A stretch of a history on its way into new rows.
  enum Stretch {
    /// Positions of a row that is final in the generation it is going to: it may be cut, not packed again.
    case sealed(row: Int, Range<Int>)
    /// Positions to be packed.
    case open(Range<Int>)
  }

  /// The collected positions in order.
  func stretches(sealedIn target: Generation) -> [Stretch] {
    let order = rows.indices.sorted { rows[$0].cut.lowerBound < rows[$1].cut.lowerBound }
    var stretches: [Stretch] = []
    for index in order {
      let row = rows[index]
      let element = unsafe target.codec.element(of: UnsafeRawBufferPointer(rebasing: buffer.bytes[row.bytes]))
      if row.place.generation == target.id, element == .i8 {
        stretches.append(.sealed(row: index, row.cut))
      } else if case .open(let before) = stretches.last {
        stretches[stretches.count - 1] = .open(before.lowerBound..<row.cut.upperBound)
      } else {
        stretches.append(.open(row.cut))
      }
    }
    return stretches
  }

  /// Appends the payload of some positions of a row.
  func slice(_ row: Int, _ positions: Range<Int>, _ codec: RowCodec, into scratch: inout ByteBuffer) {
    let (place, bytes) = (rows[row].place, rows[row].bytes)
    unsafe codec.slice(
      UnsafeRawBufferPointer(rebasing: buffer.bytes[bytes]), count: place.count,
      positions.lowerBound - place.position..<positions.upperBound - place.position, into: &scratch)
  }

  /// Neighbours are mostly of one generation: it is looked up once.
  @inline(__always)
  private mutating func generation(
    _ id: Int64, _ store: RowStore, _ session: ReadSession
  ) throws(StoreError) -> Generation {
    if let known, known.id == id { return known }
    let found = try store.generation(id, session)
    known = found
    return found
  }

  private func name(of index: Int, _ store: RowStore) -> String {
    "\(store.path): user \(rows[index].place.user), position \(rows[index].place.position)"
  }
}
