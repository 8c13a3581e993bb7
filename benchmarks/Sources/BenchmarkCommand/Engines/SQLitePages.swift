/// SQLite with 128 positions to a row, where every append reads the user's last row, adds to it and writes it back.

import CSQLitePeer
import Glibc

final class SQLitePages: SQLitePeer, Engine {
  let name = "SQLite, page rewritten"
  /// Positions of a full page.
  static let capacity = 128
  private var upsert: OpaquePointer!
  private var select: OpaquePointer!
  private var last: OpaquePointer!
  private let scratch = UnsafeMutableRawPointer.allocate(byteCount: capacity * Entry.byteCount, alignment: 16)

  init(path: String, cacheByteCount: Int) throws {
    // 8 KiB: a full row would spill to overflow pages in smaller ones.
    try super.init(
      path: path, pageByteCount: 8_192, cacheByteCount: cacheByteCount,
      schema: """
        CREATE TABLE page(user INTEGER, number INTEGER, entries BLOB, PRIMARY KEY(user, number)) WITHOUT ROWID
        """)
    upsert = try prepare("INSERT OR REPLACE INTO page VALUES(?, ?, ?)")
    select = try prepare("SELECT entries FROM page WHERE user = ? ORDER BY number")
    last = try prepare("SELECT number, entries FROM page WHERE user = ? ORDER BY number DESC LIMIT 1")
  }

  deinit { scratch.deallocate() }

  func load(_ population: Population) throws {
    try bulk(population) { user, length in
      for start in stride(from: 0, to: length, by: Self.capacity) {
        let count = min(Self.capacity, length - start)
        for place in 0..<count {
          Entry(user: user, position: start + place).write(to: scratch + place * Entry.byteCount)
        }
        try write(user, start / Self.capacity, count)
      }
    }
  }

  func commit(_ commit: Commit) throws {
    try transaction {
      for run in commit.runs {
        var (number, count) = try readLast(run.user)
        for place in 0..<run.count {
          if count == Self.capacity {
            try write(run.user, number, count)
            (number, count) = (number + 1, 0)
          }
          commit.entries[run.start + place].write(to: scratch + count * Entry.byteCount)
          count += 1
        }
        try write(run.user, number, count)
      }
    }
  }

  /// Fetches the user's last page into the scratch memory.
  private func readLast(_ user: Int64) throws -> (number: Int, count: Int) {
    sqlite3_bind_int64(last, 1, user)
    defer { sqlite3_reset(last) }
    guard try step(last) else { return (0, 0) }
    let byteCount = min(Int(sqlite3_column_bytes(last, 1)), Self.capacity * Entry.byteCount)
    memcpy(scratch, sqlite3_column_blob(last, 1), byteCount)
    return (Int(sqlite3_column_int64(last, 0)), byteCount / Entry.byteCount)
  }

  private func write(_ user: Int64, _ number: Int, _ count: Int) throws {
    sqlite3_bind_int64(upsert, 1, user)
    sqlite3_bind_int64(upsert, 2, Int64(number))
    peer_sqlite3_bind_blob(upsert, 3, scratch, Int32(count * Entry.byteCount))
    try run(upsert)
  }

  func read(_ user: Int64) throws -> Int {
    sqlite3_bind_int64(select, 1, user)
    var byteCount = 0
    while try step(select) {
      let count = Int(sqlite3_column_bytes(select, 0))
      guard byteCount + count <= buffer.capacity * Entry.byteCount else { break }
      memcpy(buffer.bytes + byteCount, sqlite3_column_blob(select, 0), count)
      byteCount += count
    }
    sqlite3_reset(select)
    return byteCount / Entry.byteCount
  }

  func hash(of user: Int64) throws -> (positions: Int, hash: UInt64) {
    let count = try read(user)
    return (count, buffer.hash(count))
  }
}
