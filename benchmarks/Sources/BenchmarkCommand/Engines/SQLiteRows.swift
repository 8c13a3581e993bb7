/// SQLite with a row per position: the schema that everybody writes first.

import CSQLitePeer
import Glibc

final class SQLiteRows: SQLitePeer, Engine {
  let name = "SQLite, row per position"
  private var insert: OpaquePointer!
  private var select: OpaquePointer!
  private var last: OpaquePointer!
  private let scratch = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)

  init(path: String, cacheByteCount: Int) throws {
    try super.init(
      path: path, pageByteCount: 4_096, cacheByteCount: cacheByteCount,
      schema: """
        CREATE TABLE entry(user INTEGER, position INTEGER, entry BLOB, PRIMARY KEY(user, position)) WITHOUT ROWID
        """)
    insert = try prepare("INSERT INTO entry VALUES(?, ?, ?)")
    select = try prepare("SELECT entry FROM entry WHERE user = ? ORDER BY position")
    last = try prepare("SELECT position FROM entry WHERE user = ? ORDER BY position DESC LIMIT 1")
  }

  deinit { scratch.deallocate() }

  func load(_ population: Population) throws {
    try bulk(population) { user, length in
      for position in 0..<length { try insert(user, position, Entry(user: user, position: position)) }
    }
  }

  func commit(_ commit: Commit) throws {
    try transaction {
      for run in commit.runs {
        sqlite3_bind_int64(last, 1, run.user)
        let next = try step(last) ? Int(sqlite3_column_int64(last, 0)) + 1 : 0
        sqlite3_reset(last)
        for place in 0..<run.count { try insert(run.user, next + place, commit.entries[run.start + place]) }
      }
    }
  }

  private func insert(_ user: Int64, _ position: Int, _ entry: Entry) throws {
    entry.write(to: scratch)
    sqlite3_bind_int64(insert, 1, user)
    sqlite3_bind_int64(insert, 2, Int64(position))
    peer_sqlite3_bind_blob(insert, 3, scratch, Int32(Entry.byteCount))
    try run(insert)
  }

  func read(_ user: Int64) throws -> Int {
    sqlite3_bind_int64(select, 1, user)
    var count = 0
    while try step(select), count < buffer.capacity {
      memcpy(buffer.bytes + count * Entry.byteCount, sqlite3_column_blob(select, 0), Entry.byteCount)
      count += 1
    }
    sqlite3_reset(select)
    return count
  }

  func hash(of user: Int64) throws -> (positions: Int, hash: UInt64) {
    let count = try read(user)
    return (count, buffer.hash(count))
  }
}
