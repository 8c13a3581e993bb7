/// SQLite with a user's full keys and values as one blob, read into memory of its own: a blob lies in many pages, so
/// that a copy is what SQLite can do at best. The largest pages, the file mapped, one blob handle moved from row to
/// row.

import CSQLitePeer

final class SQLiteFull: SQLitePeer, FullCache {
  let name = "SQLite"
  private var blob: OpaquePointer?
  private var memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)

  init(path: String, byteCount: Int) throws {
    try super.init(
      path: path, pageByteCount: 65_536, cacheByteCount: 64 << 20,
      schema: "PRAGMA mmap_size=\(byteCount * 2); CREATE TABLE cache(user INTEGER PRIMARY KEY, rows BLOB)")
  }

  deinit { memory.deallocate() }

  func load(_ population: Population, _ rows: FullRows) throws {
    memory.deallocate()
    memory = .allocate(
      byteCount: FullRows.byteCount(positions: population.lengths.max() ?? 0), alignment: 64)
    // Without a log: everything would be written twice.
    try execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN")
    let insert = try prepare("INSERT INTO cache VALUES(?, ?)")
    for (user, length) in zip(population.ids, population.lengths) {
      rows.write(user, count: length, to: memory)
      sqlite3_bind_int64(insert, 1, user)
      peer_sqlite3_bind_blob(insert, 2, memory, Int32(FullRows.byteCount(positions: length)))
      try run(insert)
    }
    try execute("COMMIT; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
  }

  func read(_ user: Int64, _ body: (UnsafeRawPointer) -> Void) throws {
    if blob == nil {
      try check(sqlite3_blob_open(handle, "main", "cache", "rows", user, 0, &blob))
    } else {
      try check(sqlite3_blob_reopen(blob, user))
    }
    try check(sqlite3_blob_read(blob, memory, sqlite3_blob_bytes(blob), 0))
    body(memory)
  }

  override func close() throws {
    sqlite3_blob_close(blob)
    blob = nil
    try super.close()
  }
}
