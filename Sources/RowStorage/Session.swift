/// One connection with the statements that the engine runs on it. All SQL of the hot paths stands here, static text
/// with bound parameters. A session is used by one thread at a time and holds at most one transaction.

internal import CacheTypes

/// A connection that can read: meta, blocks, tail.
final class ReadSession {
  let connection: Connection
  private let begin: Statement
  private let end: Statement
  private let meta: Statement
  let blocksFromNewest: Statement
  let newestBlock: Statement
  let nextBlockUser: Statement
  let tailRow: Statement
  let tailIndex: Statement

  init(path: String, mode: ConnectionMode, cacheByteCount: Int) throws(StoreError) {
    connection = try Connection(path: path, mode: mode)
    try connection.execute("PRAGMA cache_size = \(-cacheByteCount / 1_024)")
    // The first read of a connection is where the format is checked, before any statement is compiled against it.
    try Schema.verify(connection)
    begin = try connection.prepare("BEGIN")
    end = try connection.prepare("COMMIT")
    meta = try connection.prepare(Meta.select)
    blocksFromNewest = try connection.prepare(
      "SELECT position, count, generation, checksum, payload FROM block WHERE user = ?1 ORDER BY position DESC")
    newestBlock = try connection.prepare(
      "SELECT position, count, generation FROM block WHERE user = ?1 ORDER BY position DESC LIMIT 1")
    nextBlockUser = try connection.prepare("SELECT user FROM block WHERE user > ?1 ORDER BY user LIMIT 1")
    tailRow = try connection.prepare(
      "SELECT user, position, count, generation, checksum, payload FROM tail WHERE seq = ?1")
    tailIndex = try connection.prepare(
      "SELECT seq, user, position, count, generation FROM tail WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")
  }

  /// Starts a read transaction; the snapshot is that of the returned counters.
  func beginReading() throws(StoreError) -> Meta {
    try begin.run()
    do { return try Meta.read(meta) } catch {
      endReading()
      throw error
    }
  }

  func readMeta() throws(StoreError) -> Meta { try Meta.read(meta) }

  func endReading() {
    // Ending a transaction that only read cannot fail in a way that matters: there is nothing to lose.
    if connection.isInTransaction { try? end.run() }
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

  /// Where a user's newest block is.
  func newestBlock(of user: UserID) throws(StoreError) -> RowPlace? {
    newestBlock.bind(user, at: 1)
    defer { newestBlock.reset() }
    return try newestBlock.step() ? try RowPlace(newestBlock, user: user) : nil
  }

  /// The first user with blocks after `user`, or the first of all.
  func blockUser(after user: UserID?) throws(StoreError) -> UserID? {
    if let user {
      nextBlockUser.bind(user, at: 1)
      defer { nextBlockUser.reset() }
      return try nextBlockUser.step() ? try nextBlockUser.user(0) : nil
    }
    let first = try connection.prepare("SELECT user FROM block ORDER BY user LIMIT 1")
    return try first.step() ? try first.user(0) : nil
  }
}

/// The one connection of a store that writes, with the statements for it.
final class WriteSession {
  let reading: ReadSession
  private let begin: Statement
  private let commit: Statement
  private let rollback: Statement
  private let updateMeta: Statement
  let insertTail: Statement
  let replaceBlock: Statement
  let deleteTailRow: Statement
  let deleteTailRange: Statement
  let deleteBlocks: Statement
  let tailRange: Statement
  private var isSynced: Bool
  /// Pages in the write-ahead log after the newest commit of this connection.
  var framesInLog: Int {
    get { connection.framesInLog }
    set { connection.framesInLog = newValue }
  }

  var connection: Connection { _read { yield reading.connection } }

  init(path: String, mode: ConnectionMode, cacheByteCount: Int) throws(StoreError) {
    reading = try ReadSession(path: path, mode: mode, cacheByteCount: cacheByteCount)
    try Self.useLog(reading.connection)
    begin = try reading.connection.prepare("BEGIN IMMEDIATE")
    commit = try reading.connection.prepare("COMMIT")
    rollback = try reading.connection.prepare("ROLLBACK")
    updateMeta = try reading.connection.prepare(Meta.update)
    insertTail = try reading.connection.prepare(
      """
      INSERT INTO tail(seq, user, position, count, generation, checksum, payload) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
      """)
    replaceBlock = try reading.connection.prepare(
      """
      REPLACE INTO block(user, position, count, generation, checksum, payload) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
      """)
    deleteTailRow = try reading.connection.prepare("DELETE FROM tail WHERE seq = ?1")
    deleteTailRange = try reading.connection.prepare("DELETE FROM tail WHERE seq > ?1 AND seq <= ?2")
    deleteBlocks = try reading.connection.prepare("DELETE FROM block WHERE user = ?1 AND position >= ?2")
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

  /// Runs `body` in one write transaction. Its counters are written back, `next_seq` moved on by at least one.
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
    return (result, meta)
  }

  /// Rewrites the database without free space. Readers go on; other writers wait.
  func vacuum() throws(StoreError) {
    try connection.withAttachAllowed { () throws(StoreError) in try connection.execute("VACUUM") }
  }

  /// Rewrites the database with pages of another size. Until that is done, a rollback journal takes the place of the
  /// write-ahead log: a kill leaves the old pages or the new.
  ///
  /// - Throws: `StoreError.busy` while any other connection is open.
  func changePageSize(to byteCount: Int) throws(StoreError) {
    connection.setBusyTimeout(milliseconds: 200)
    defer { connection.setBusyTimeout(milliseconds: Connection.busyTimeoutMilliseconds) }
    guard try connection.texts("PRAGMA journal_mode = DELETE") == ["delete"] else {
      throw .busy("\(connection.path): the page size can change only while no other connection is open")
    }
    let isChanged: Result<Void, StoreError>
    do throws(StoreError) {
      try connection.execute("PRAGMA page_size = \(byteCount)")
      try vacuum()
      isChanged = .success(())
    } catch {
      isChanged = .failure(error)
    }
    try Self.useLog(connection)
    try isChanged.get()
  }

  /// Makes sure that commits go to the write-ahead log.
  private static func useLog(_ connection: borrowing Connection) throws(StoreError) {
    guard try connection.texts("PRAGMA journal_mode = WAL") == ["wal"] else {
      throw .busy("\(connection.path): somebody keeps the write-ahead log from being used")
    }
  }
}
