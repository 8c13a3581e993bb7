/// A database made by SQLite alone, without the page layer.

import CSQLite
import Testing

enum PlainDatabase {
  static func make(_ path: String, tables: String) throws {
    var handle: OpaquePointer?
    try #require(sqlite3_open(path, &handle) == SQLITE_OK)
    defer { sqlite3_close(handle) }
    try #require(sqlite3_exec(handle, "PRAGMA page_size = 4096; \(tables)", nil, nil, nil) == SQLITE_OK)
  }
}
