/// One SQLite connection for the tests, through any VFS, and the directory that its files live in. Everything throws
/// SQLite's extended result code, so that a test can say which refusal it expects.

import CPageVFS
import CSQLite
import Glibc

struct SQLiteError: Error, CustomStringConvertible {
  var code: Int32
  var message: String
  var description: String { "SQLite error \(code): \(message)" }

  static let badPage = SQLITE_IOERR | (32 << 8)
  static let badWrite = SQLITE_IOERR | (3 << 8)
}

/// A directory of its own, removed with everything in it.
final class Directory {
  let path: String

  init() {
    var template = Array("/tmp/ckvdb-pages-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
  }

  deinit {
    for name in names { unlink(file(name)) }
    rmdir(path)
  }

  func file(_ name: String) -> String { path + "/" + name }

  static func remove(_ path: String) { unlink(path) }

  var names: [String] {
    var found: [String] = []
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { found.append(name) }
    }
    return found
  }
}

final class TestDatabase {
  private var handle: OpaquePointer?

  /// Opens a database; a new one gets `reserved` bytes per page.
  init(_ path: String, vfs: String = "ckvdb", reserved: Int32 = 8) throws {
    guard ckv_page_vfs_register() == SQLITE_OK else { throw SQLiteError(code: -1, message: "not registered") }
    let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE
    try check(sqlite3_open_v2(path, &handle, flags, vfs))
    var reserved = reserved
    try check(sqlite3_file_control(handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved))
    try run("PRAGMA secure_delete=ON; PRAGMA cell_size_check=ON; PRAGMA wal_autocheckpoint=0")
  }

  deinit { close() }

  func close() {
    sqlite3_close_v2(handle)
    handle = nil
  }

  /// Closes without moving the write-ahead log into the database.
  func closeKeepingLog() {
    _ = ckv_sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    close()
  }

  func run(_ sql: String) throws { try check(sqlite3_exec(handle, sql, nil, nil, nil)) }

  /// Every value of every row, as text or bytes, one after the other with its length.
  func contents(_ sql: String, _ values: [Value] = []) throws -> [UInt8] {
    var statement: OpaquePointer?
    try check(sqlite3_prepare_v2(handle, sql, -1, &statement, nil))
    defer { sqlite3_finalize(statement) }
    for (index, value) in values.enumerated() { try check(value.bind(statement, Int32(index + 1))) }
    var bytes: [UInt8] = []
    while true {
      let code = sqlite3_step(statement)
      if code == SQLITE_DONE { return bytes }
      if code != SQLITE_ROW { try check(code) }
      for column in 0..<sqlite3_column_count(statement) {
        let blob = sqlite3_column_blob(statement, column)
        let count = Int(sqlite3_column_bytes(statement, column))
        bytes.append(UInt8(truncatingIfNeeded: count))
        bytes.append(UInt8(truncatingIfNeeded: count >> 8))
        if let blob { bytes.append(contentsOf: UnsafeRawBufferPointer(start: blob, count: count)) }
      }
    }
  }

  /// The first column of the first row, as text.
  func text(_ sql: String) throws -> String {
    let bytes = try contents("SELECT * FROM (\(sql)) LIMIT 1")
    return String(decoding: bytes.dropFirst(2), as: UTF8.self)
  }

  /// What a pragma, which cannot stand in a SELECT, answers first.
  func pragma(_ sql: String) throws -> String {
    String(decoding: try contents("PRAGMA " + sql).dropFirst(2), as: UTF8.self)
  }

  func vfsName() throws -> String {
    var name: UnsafeMutablePointer<CChar>?
    try check(sqlite3_file_control(handle, "main", SQLITE_FCNTL_VFSNAME, &name))
    defer { sqlite3_free(name) }
    return name.map { String(cString: $0) } ?? ""
  }

  /// Reads from the file through its methods, as SQLite would.
  func readFile(_ offset: Int, _ count: Int) throws -> (code: Int32, bytes: [UInt8]) {
    var buffer = [UInt8](repeating: 0xEE, count: count)
    let code = try withFile { $0.pointee.pMethods.pointee.xRead($0, &buffer, Int32(count), sqlite3_int64(offset)) }
    return (code, buffer)
  }

  func writeFile(_ bytes: [UInt8], at offset: Int) throws -> Int32 {
    try withFile { $0.pointee.pMethods.pointee.xWrite($0, bytes, Int32(bytes.count), sqlite3_int64(offset)) }
  }

  /// The file as SQLite holds it.
  func withFile<Result>(_ body: (UnsafeMutablePointer<sqlite3_file>) -> Result) throws -> Result {
    var file: UnsafeMutablePointer<sqlite3_file>?
    try check(sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file))
    return body(file!)
  }

  private func check(_ code: Int32) throws {
    guard code != SQLITE_OK else { return }
    throw SQLiteError(code: code, message: handle.map { String(cString: sqlite3_errmsg($0)) } ?? "")
  }
}

enum Value {
  case integer(Int64)
  case bytes([UInt8])

  fileprivate func bind(_ statement: OpaquePointer?, _ index: Int32) -> Int32 {
    switch self {
    case .integer(let value): sqlite3_bind_int64(statement, index, value)
    case .bytes(let value): ckv_sqlite3_bind_blob_copy(statement, index, value, Int32(value.count))
    }
  }
}

/// A file's bytes, read and written whole. Never while a connection of this process has it open and holds locks.
enum Bytes {
  static func read(_ path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return [] }
    defer { Glibc.close(descriptor) }
    var status = stat()
    fstat(descriptor, &status)
    let size = Int(status.st_size)
    return [UInt8](unsafeUninitializedCapacity: size) { $1 = max(0, pread(descriptor, $0.baseAddress, size, 0)) }
  }

  static func write(_ bytes: [UInt8], to path: String) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    precondition(descriptor >= 0 && pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
    Glibc.close(descriptor)
  }

  static func overwrite(_ path: String, at offset: Int, with byte: UInt8) {
    let descriptor = open(path, O_WRONLY)
    precondition(descriptor >= 0 && pwrite(descriptor, [byte], 1, off_t(offset)) == 1)
    Glibc.close(descriptor)
  }

  static func mode(_ path: String) -> mode_t? {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o777 : nil
  }
}

/// Random numbers from a seed that a failing test can name.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { withUnsafeBytes(of: next()) { bytes.append(contentsOf: $0) } }
    bytes.removeLast(bytes.count - count)
    return bytes
  }
}
