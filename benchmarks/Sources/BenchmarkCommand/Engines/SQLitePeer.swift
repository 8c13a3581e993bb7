/// What the SQLite peers share: a connection in WAL mode with synchronous=FULL, and kept statements.

import CSQLitePeer

class SQLitePeer {
  let path: String
  private(set) var handle: OpaquePointer?
  private var statements: [OpaquePointer] = []
  let buffer = EntryBuffer()

  init(path: String, pageByteCount: Int, cacheByteCount: Int, schema: String) throws {
    self.path = path
    try Files.makeDirectory(path)
    let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
    try check(sqlite3_open_v2(path + "/peer.sqlite", &handle, flags, nil))
    try execute(
      """
      PRAGMA page_size=\(pageByteCount); PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
      PRAGMA cache_size=-\(cacheByteCount / 1_024); \(schema)
      """)
  }

  func prepare(_ sql: String) throws -> OpaquePointer {
    var statement: OpaquePointer?
    try check(sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil))
    guard let statement else { throw BenchmarkError("no statement in \(sql)") }
    statements.append(statement)
    return statement
  }

  func execute(_ sql: String) throws { try check(sqlite3_exec(handle, sql, nil, nil, nil)) }

  /// Runs a statement that returns nothing.
  func run(_ statement: OpaquePointer) throws {
    let code = sqlite3_step(statement)
    sqlite3_reset(statement)
    guard code == SQLITE_DONE else { throw failure(code) }
  }

  /// Whether there is another row.
  func step(_ statement: OpaquePointer) throws -> Bool {
    let code = sqlite3_step(statement)
    guard code == SQLITE_ROW || code == SQLITE_DONE else { throw failure(code) }
    return code == SQLITE_ROW
  }

  /// Loads without syncing, a million positions to a transaction, then moves everything into the database file.
  func bulk(_ population: Population, _ insert: (_ user: Int64, _ length: Int) throws -> Void) throws {
    try execute("PRAGMA synchronous=OFF; BEGIN")
    var positions = 0
    for (user, length) in zip(population.ids, population.lengths) {
      try insert(user, length)
      positions += length
      if positions >= 1_000_000 {
        try execute("COMMIT; BEGIN")
        positions = 0
      }
    }
    try execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous=FULL")
  }

  func transaction(_ body: () throws -> Void) throws {
    try execute("BEGIN IMMEDIATE")
    try body()
    try execute("COMMIT")
  }

  func settle() throws { try execute("PRAGMA wal_checkpoint(TRUNCATE)") }

  func compact() throws { try execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)") }

  func close() throws {
    for statement in statements { sqlite3_finalize(statement) }
    statements = []
    try check(sqlite3_close(handle))
    handle = nil
  }

  func check(_ code: Int32) throws {
    guard code == SQLITE_OK else { throw failure(code) }
  }

  private func failure(_ code: Int32) -> BenchmarkError {
    BenchmarkError("\(path): SQLite \(code): \(String(cString: sqlite3_errmsg(handle)))")
  }
}
