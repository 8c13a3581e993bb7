/// One connection with the statements that the engine runs on it. All SQL of the hot paths stands here, static text
/// with bound parameters. A session is used by one thread at a time and holds at most one transaction.

internal import CacheTypes

/// A connection that can read: meta, blocks, tail.
final class ReadSession {
  let connection: Connection
  private let ledger: CommitLedger
  /// Bytes of pages that the connection keeps.
  private(set) var cacheByteCount: Int
  private let meta: Statement
  /// The counters of the snapshot that stands between reads.
  private var standing: Meta?
  /// Those of the snapshot of the present read, if it may stand after it.
  private var next: Meta?
  /// What the log's index said when the newest snapshot was taken.
  private var header: LogHeader?
  /// Numbers of users, true while `erase_epoch` is `numbersEpoch`: only a user that was erased gets another one. A
  /// session that writes has no epoch and remembers nothing, since it may erase a user and add it again in one
  /// transaction.
  private var numbers = UserCache(capacity: 1 << 16)
  private var numbersEpoch: Int64?
  /// When the session was last given back, in the pool's ticks.
  var idleSince = 0
  /// Scratch for the rows of one user.
  var found = FoundRows()
  /// Columns that a reader has done with: their memory serves the next one. Fresh memory of a long history costs more
  /// in page faults than decoding into it.
  var spare = Entries(count: 0, layers: [])
  /// A user's blocks, the newest first: place, count, generation, checksum, payload.
  let blocksFromNewest: Statement
  private let nextBlock: Statement
  private let numberOfUser: Statement
  private let userOfNumber: Statement
  private let nextNamedUser: Statement
  let tailRow: Statement
  let tailIndex: Statement

  init(
    path: String, place: String? = nil, mode: ConnectionMode, cacheByteCount: Int, ledger: CommitLedger = .init()
  ) throws(StoreError) {
    connection = try Connection(path: path, place: place, mode: mode)
    self.ledger = ledger
    self.cacheByteCount = cacheByteCount
    try connection.execute("PRAGMA cache_size = \(-cacheByteCount / 1_024)")
    // The first read of a connection is where the format is checked, before any statement is compiled against it.
    try Schema.verify(connection)
    meta = try connection.prepare(Meta.select)
    blocksFromNewest = try connection.prepare(
      """
      SELECT place, count, generation, checksum, payload FROM block WHERE place >= ?1 AND place <= ?2
      ORDER BY place DESC
      """)
    nextBlock = try connection.prepare("SELECT place FROM block WHERE place >= ?1 ORDER BY place LIMIT 1")
    numberOfUser = try connection.prepare("SELECT number FROM user WHERE user = ?1")
    userOfNumber = try connection.prepare("SELECT user FROM user WHERE number = ?1")
    nextNamedUser = try connection.prepare("SELECT user FROM user WHERE user > ?1 ORDER BY user LIMIT 1")
    tailRow = try connection.prepare(
      "SELECT user, position, count, generation, checksum, payload FROM tail WHERE seq = ?1")
    tailIndex = try connection.prepare(
      "SELECT seq, user, position, count, generation FROM tail WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")
  }

  /// Changes how many bytes of pages the connection keeps; what is too much is let go of at once.
  func setCache(byteCount: Int) throws(StoreError) {
    guard byteCount != cacheByteCount else { return }
    try connection.execute("PRAGMA cache_size = \(-byteCount / 1_024)")
    cacheByteCount = byteCount
  }

  // MARK: The snapshot

  /// Starts a read transaction; the snapshot is that of the returned counters. SQLite keeps a connection's snapshot for
  /// as long as any statement stands on a row, so the one that read the counters stays there until `endReading`: BEGIN
  /// and COMMIT would be two more statements in every read.
  ///
  /// A snapshot that `leaveReading` left standing serves again if nobody has committed since.
  func beginReading() throws(StoreError) -> Meta {
    if let standingMeta { return standingMeta }
    endReading()
    let known = ledger.known
    let before = connection.logHeader()
    let counters: Meta
    do throws(StoreError) {
      counters = try Meta.read(meta)
      try ledger.check(counters, isAtLeast: known, connection.path)
    } catch {
      endReading()
      throw error
    }
    // Only if nobody committed meanwhile is it known which header belongs to the snapshot.
    let after = connection.logHeader()
    let isQuiet = before != nil && before == header && before == after
    header = before == after ? before : nil
    if counters.eraseEpoch != numbersEpoch {
      numbers.removeAll()
      numbersEpoch = counters.eraseEpoch
    }
    next = isQuiet && after!.frames < Self.shortLogFrameCount && !counters.isErasePending ? counters : nil
    return counters
  }

  /// Ends the read transaction; every other statement must have been reset.
  func endReading() {
    meta.reset()
    standing = nil
    next = nil
  }

  /// Ends the read transaction, or lets it stand for the next read: taking and giving back SQLite's two locks is half
  /// the cost of a read of some hundred positions. It stands only where it is in nobody's way: no commit came since the
  /// read before this one, the log is far from being moved into the database, and nothing is being erased. Whoever
  /// keeps idle sessions ends it soon: see ReaderPool.
  func leaveReading() {
    if let counters = next { standing = counters } else { endReading() }
  }

  /// The counters of the snapshot that stands between reads, if nobody has committed since it was taken.
  var standingMeta: Meta? {
    guard let standing, let header, connection.logHeader() == header else { return nil }
    return standing
  }

  /// Whether a snapshot stands between reads.
  var isStanding: Bool { standing != nil }

  /// Pages in the log below which snapshots may stand; a checkpoint comes at 8,000.
  private static let shortLogFrameCount = 4_000

  func readMeta() throws(StoreError) -> Meta {
    let known = ledger.known
    defer { meta.reset() }
    let counters = try Meta.read(meta)
    try ledger.check(counters, isAtLeast: known, connection.path)
    return counters
  }

  /// Every tail row with `first <= seq < limit`, without its payload.
  func scanTail(
    from first: Int64, below limit: Int64, _ body: (TailRow) throws(StoreError) -> Void
  ) throws(StoreError) {
    tailIndex.bind(first, at: 1)
    tailIndex.bind(limit, at: 2)
    defer { tailIndex.reset() }
    while try tailIndex.step() { try body(try readTailRow(tailIndex)) }
  }

  /// Reads columns 0 to 4: seq, user, position, count, generation.
  func readTailRow(_ statement: borrowing Statement) throws(StoreError) -> TailRow {
    let seq = statement.integer(0)
    let position = try statement.integer(2, atLeast: 0, "tail.position")
    let count = try statement.integer(3, atLeast: 0, "tail.count")
    let generation = try statement.integer(4, atLeast: 1, "tail.generation")
    guard position <= Int64(RowStore.lengthLimit), count <= Int64(RowStore.rowCountLimit), generation <= 0xFFFF else {
      throw .damaged("\(connection.path): tail row \(seq): position, count or generation is out of range")
    }
    return TailRow(
      seq: seq, user: try statement.user(1), position: UInt32(position), count: UInt32(count),
      generation: UInt16(generation))
  }

  // MARK: Blocks

  /// Puts `blocksFromNewest` on the user's newest block; `nil` if there is none.
  @inline(__always)
  func startBlocks(of user: UserID, _ number: UserNumber) throws(StoreError) -> RowPlace? {
    bindBlocks(number)
    return try blocksFromNewest.step() ? try RowPlace(blocksFromNewest, user: user) : nil
  }

  @inline(__always)
  func bindBlocks(_ number: UserNumber) {
    blocksFromNewest.reset()
    blocksFromNewest.bind(BlockPlace.key(number, 0), at: 1)
    blocksFromNewest.bind(BlockPlace.last(number), at: 2)
  }

  /// Where a user's newest block is. Ends a run of `blocksFromNewest`.
  func newestBlock(of user: UserID) throws(StoreError) -> RowPlace? {
    guard let number = try number(of: user) else { return nil }
    defer { blocksFromNewest.reset() }
    return try startBlocks(of: user, number)
  }

  /// What stands for a user in the keys of its blocks; `nil` if it surely has none.
  @inline(__always)
  func number(of user: UserID) throws(StoreError) -> UserNumber? {
    if let own = UserNumber(ownNumberOf: user) { return own }
    return try givenNumber(of: user)
  }

  private func givenNumber(of user: UserID) throws(StoreError) -> UserNumber? {
    if numbersEpoch != nil, let bits = numbers.value(of: user) { return UserNumber(Int32(bitPattern: bits)) }
    numberOfUser.bind(user, at: 1)
    defer { numberOfUser.reset() }
    guard try numberOfUser.step() else { return nil }
    guard let value = Int32(exactly: numberOfUser.integer(0)), value < 0 else {
      throw .damaged("\(connection.path): user \(user) has the number \(numberOfUser.integer(0))")
    }
    if numbersEpoch != nil { numbers.set(UInt32(bitPattern: value), for: user) }
    return UserNumber(value)
  }

  /// Whose blocks have this number; `nil` if the table `user` does not say.
  func user(of number: UserNumber) throws(StoreError) -> UserID? {
    if number.isUserID { return .integer(Int64(number.value)) }
    userOfNumber.bind(Int64(number.value), at: 1)
    defer { userOfNumber.reset() }
    return try userOfNumber.step() ? try userOfNumber.user(0) : nil
  }

  /// The number of the first block from a key on.
  func blockNumber(from key: Int64) throws(StoreError) -> UserNumber? {
    nextBlock.bind(key, at: 1)
    defer { nextBlock.reset() }
    return try nextBlock.step() ? BlockPlace.number(of: nextBlock.integer(0)) : nil
  }

  /// The first user with blocks after `user`, or the first of all, in the order of `UserID`.
  func blockUser(after user: UserID?) throws(StoreError) -> UserID? {
    let named = try namedUser(after: user)
    // Users that are their own number lie between the integers below zero and those from 2^31 on.
    let first: Int64
    switch user {
    case nil: first = 0
    case .integer(let id): first = id < 0 ? 0 : id < Int64(Int32.max) ? id + 1 : .max
    case .bytes: first = .max
    }
    guard let start = Int32(exactly: first), let own = try blockNumber(from: BlockPlace.key(UserNumber(start), 0))
    else { return named }
    let user = UserID.integer(Int64(own.value))
    return named.map { min($0, user) } ?? user
  }

  private func namedUser(after user: UserID?) throws(StoreError) -> UserID? {
    guard let user else {
      let first = try connection.prepare("SELECT user FROM user ORDER BY user LIMIT 1")
      return try first.step() ? try first.user(0) : nil
    }
    nextNamedUser.bind(user, at: 1)
    defer { nextNamedUser.reset() }
    return try nextNamedUser.step() ? try nextNamedUser.user(0) : nil
  }
}

/// The one connection of a store that writes, with the statements for it.
final class WriteSession {
  let reading: ReadSession
  private let begin: Statement
  private let commit: Statement
  private let rollback: Statement
  private let updateMeta: Statement
  /// Inserts one tail row.
  let insertTail: Statement
  /// Inserts `tailBatchCount` tail rows: a third cheaper than one by one.
  let insertTailBatch: Statement
  static let tailBatchCount = 16
  static let tailColumnCount: Int32 = 7
  let replaceBlock: Statement
  let deleteTailRow: Statement
  let deleteTailRange: Statement
  let renumberTailRow: Statement
  private let tailStep: Statement
  private let deleteBlocks: Statement
  private let giveNumber: Statement
  private let deleteNumber: Statement
  let tailRange: Statement
  private var isSynced: Bool
  private let ledger: CommitLedger
  /// Pages in the write-ahead log after the newest commit of this connection.
  var framesInLog: Int {
    get { connection.framesInLog }
    set { connection.framesInLog = newValue }
  }

  var connection: Connection { _read { yield reading.connection } }

  init(
    path: String, place: String? = nil, mode: ConnectionMode, cacheByteCount: Int, ledger: CommitLedger = .init()
  ) throws(StoreError) {
    reading = try ReadSession(path: path, place: place, mode: mode, cacheByteCount: cacheByteCount, ledger: ledger)
    self.ledger = ledger
    try Self.useLog(reading.connection)
    begin = try reading.connection.prepare("BEGIN IMMEDIATE")
    commit = try reading.connection.prepare("COMMIT")
    rollback = try reading.connection.prepare("ROLLBACK")
    updateMeta = try reading.connection.prepare(Meta.update)
    let insert = "INSERT INTO tail(seq, user, position, count, generation, checksum, payload) VALUES"
    let row = "(?, ?, ?, ?, ?, ?, ?)"
    insertTail = try reading.connection.prepare(insert + row)
    let batch = [String](repeating: row, count: Self.tailBatchCount).joined(separator: ", ")
    insertTailBatch = try reading.connection.prepare(insert + batch)
    replaceBlock = try reading.connection.prepare(
      "REPLACE INTO block(place, count, generation, checksum, payload) VALUES(?1, ?2, ?3, ?4, ?5)")
    giveNumber = try reading.connection.prepare(
      "INSERT INTO user(number, user) SELECT min(coalesce(min(number), 0), 0) - 1, ?1 FROM user RETURNING number")
    deleteNumber = try reading.connection.prepare("DELETE FROM user WHERE number = ?1")
    deleteTailRow = try reading.connection.prepare("DELETE FROM tail WHERE seq = ?1")
    deleteTailRange = try reading.connection.prepare("DELETE FROM tail WHERE seq > ?1 AND seq <= ?2")
    renumberTailRow = try reading.connection.prepare("UPDATE tail SET seq = ?2 WHERE seq = ?1")
    tailStep = try reading.connection.prepare(
      "SELECT seq FROM tail WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT 1 OFFSET ?3")
    deleteBlocks = try reading.connection.prepare("DELETE FROM block WHERE place >= ?1 AND place <= ?2")
    tailRange = try reading.connection.prepare(
      """
      SELECT seq, user, position, count, generation, checksum, payload FROM tail WHERE seq > ?1 AND seq <= ?2
      ORDER BY seq
      """)
    try reading.connection.execute("PRAGMA synchronous = FULL")
    isSynced = true
  }

  /// Whether a commit waits for the disk. Takes effect with the next transaction.
  func setSynced(_ wanted: Bool) throws(StoreError) {
    guard wanted != isSynced else { return }
    try connection.execute(wanted ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL")
    isSynced = wanted
  }

  /// Runs `body` in one write transaction. Its counters are written back, `next_seq` moved on by at least one and
  /// `commits` by one, and the ledger takes the commit down.
  ///
  /// - Throws: what `body` throws, after a rollback; `StoreError.poisoned` if the commit itself failed, since then
  ///   nobody knows whether it happened.
  func transaction<Result>(_ body: (inout Meta) throws(StoreError) -> Result) throws(StoreError) -> (Result, Meta) {
    try begin.run()
    var meta: Meta
    let result: Result
    do {
      meta = try reading.readMeta()
      let firstSeq = meta.nextSeq
      result = try body(&meta)
      if meta.nextSeq == firstSeq { meta.nextSeq += 1 }
      meta.commits += 1
      try meta.write(updateMeta)
    } catch {
      if connection.isInTransaction { try? rollback.run() }
      throw error
    }
    do { try commit.run() } catch {
      if connection.isInTransaction { try? rollback.run() }
      if case .busy = error { throw error }
      throw .poisoned("a commit failed, open the store anew: \(error)")
    }
    ledger.committed(meta, isSynced: isSynced)
    return (result, meta)
  }

  /// What stands for a user in the keys of its blocks, from now on if nothing did so far.
  func numberForWriting(_ user: UserID) throws(StoreError) -> UserNumber {
    if let number = try reading.number(of: user) { return number }
    giveNumber.bind(user, at: 1)
    defer { giveNumber.reset() }
    guard try giveNumber.step() else { throw .damaged("\(connection.path): the user \(user) got no number") }
    guard let value = Int32(exactly: giveNumber.integer(0)) else {
      throw .damaged("\(connection.path): user \(user) would get the number \(giveNumber.integer(0))")
    }
    return UserNumber(value)
  }

  func deleteBlocks(_ number: UserNumber) throws(StoreError) {
    deleteBlocks.bind(BlockPlace.key(number, 0), at: 1)
    deleteBlocks.bind(BlockPlace.last(number), at: 2)
    try deleteBlocks.run()
  }

  /// Deletes a user's blocks and, if it had to be given one, its number.
  func deleteUser(_ number: UserNumber) throws(StoreError) {
    try deleteBlocks(number)
    guard !number.isUserID else { return }
    deleteNumber.bind(Int64(number.value), at: 1)
    try deleteNumber.run()
  }

  /// Where a stretch of at most `limit` tail rows ends: by the rows that are there, for numbers may be far apart.
  func lastTailRow(after seq: Int64, through last: Int64, limit: Int64) throws(StoreError) -> Int64 {
    tailStep.bind(seq, at: 1)
    tailStep.bind(last, at: 2)
    tailStep.bind(limit - 1, at: 3)
    defer { tailStep.reset() }
    return try tailStep.step() ? tailStep.integer(0) : last
  }
}
