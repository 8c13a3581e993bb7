/// A second connection to a store's database, for what no call of the store does: looking at rows, making damaged ones,
/// holding a snapshot. It goes through the same page layer.

import CPageVFS
import CSQLite
import Testing

final class SideDatabase {
  private var handle: OpaquePointer?

  init(_ path: String) throws {
    #expect(ckv_page_vfs_register() == SQLITE_OK)
    try #require(sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE, "ckvdb") == SQLITE_OK)
    sqlite3_busy_timeout(handle, 5_000)
  }

  deinit { sqlite3_close_v2(handle) }

  func execute(_ sql: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    try #require(code == SQLITE_OK, "\(String(cString: sqlite3_errmsg(handle)))", sourceLocation: sourceLocation)
  }

  /// Every row as text, columns joined by a bar; blobs in hexadecimal.
  func rows(_ sql: String) throws -> [String] {
    var statement: OpaquePointer?
    try #require(sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK)
    defer { sqlite3_finalize(statement) }
    var rows: [String] = []
    while sqlite3_step(statement) == SQLITE_ROW {
      let columns = (0..<sqlite3_column_count(statement)).map { column in
        if sqlite3_column_type(statement, column) == SQLITE_BLOB {
          let start = sqlite3_column_blob(statement, column)
          let bytes = UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column)))
          return "x" + bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        return sqlite3_column_text(statement, column).map { String(cString: $0) } ?? "null"
      }
      rows.append(columns.joined(separator: "|"))
    }
    return rows
  }

  func integer(_ sql: String) throws -> Int { Int(try #require(try rows(sql).first)) ?? -1 }
}
