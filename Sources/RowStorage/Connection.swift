/// One SQLite connection, opened hardened and closed once. Everything that calls the SQLite C API lives here and in
/// Statement.swift; nothing else in the process opens the database file. A connection is used by one thread at a time.

internal import CPageVFS
internal import CSQLite
internal import CacheTypes

/// How a connection may use the database file.
enum ConnectionMode {
  /// Makes a new, empty database; the page size is fixed by the caller before the first table.
  case create
  case readWrite
  /// Reads, beside writers of any process.
  case readOnly
  /// Reads a database that nobody can change: an unwritable directory.
  case immutable
}

/// The header of the log's index: every commit of any process changes it before it returns.
struct LogHeader: Equatable {
  fileprivate var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)

  /// Pages in the write-ahead log.
  var frames: Int {
    unsafe withUnsafeBytes(of: words) { words in
      Int(unsafe ckv_page_vfs_log_frames(words.baseAddress!.assumingMemoryBound(to: UInt64.self)))
    }
  }

  static func == (left: LogHeader, right: LogHeader) -> Bool { left.words == right.words }
}

/// Owns one connection to `users.sqlite`.
@safe struct Connection: ~Copyable {
  let path: String
  private let handle: OpaquePointer
  private let logSize: LogSize

  /// Milliseconds that a connection waits for another one's write lock before it reports `busy`.
  static let busyTimeoutMilliseconds: Int32 = 10_000
  /// Bytes at the end of every page that hold its checksum.
  static let reservedByteCount = 8

  /// - Parameters:
  ///   - path: names the file in messages.
  ///   - place: where the file is, if not at `path`: no directory on the way is a link.
  init(path: String, place: String? = nil, mode: ConnectionMode) throws(StoreError) {
    self.path = path
    unsafe handle = try Self.openHandle(path: path, place: place ?? path, mode: mode)
    logSize = LogSize()
    unsafe sqlite3_wal_hook(
      handle,
      { context, _, _, frames in
        unsafe Unmanaged<LogSize>.fromOpaque(context!).takeUnretainedValue().frames = Int(frames)
        return SQLITE_OK
      }, Unmanaged.passUnretained(logSize).toOpaque())
  }

  /// What tells the newest commit from others; `nil` if it cannot be told just now.
  func logHeader() -> LogHeader? {
    var file: UnsafeMutableRawPointer?
    guard unsafe sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK else { return nil }
    var header = LogHeader()
    let isKnown = unsafe withUnsafeMutableBytes(of: &header.words) { words in
      unsafe ckv_page_vfs_log_header(file, words.baseAddress!.assumingMemoryBound(to: UInt64.self))
    }
    return isKnown ? header : nil
  }

  /// Pages in the write-ahead log, as the newest commit of this connection left it.
  var framesInLog: Int {
    get { logSize.frames }
    nonmutating set { logSize.frames = newValue }
  }

  private final class LogSize { var frames = 0 }

  deinit { unsafe sqlite3_close_v2(handle) }

  /// Runs statements that return nothing of interest.
  func execute(_ sql: String) throws(StoreError) {
    let code = unsafe sqlite3_exec(handle, sql, nil, nil, nil)
    guard code == SQLITE_OK else { throw failure(code, operation: sql) }
  }

  /// Compiles a statement that is kept.
  func prepare(_ sql: String) throws(StoreError) -> Statement {
    var statement: OpaquePointer?
    let code = unsafe sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
    guard code == SQLITE_OK, let statement = unsafe statement else { throw failure(code, operation: sql) }
    return unsafe Statement(statement, database: handle, path: path)
  }

  /// The first column of the first row, or `nil` without a row.
  func integer(_ sql: String) throws(StoreError) -> Int64? {
    let statement = try prepare(sql)
    return try statement.step() ? statement.integer(0) : nil
  }

  /// The first column of every row, as text.
  func texts(_ sql: String) throws(StoreError) -> [String] {
    let statement = try prepare(sql)
    var rows: [String] = []
    while try statement.step() { rows.append(statement.text(0)) }
    return rows
  }

  /// Lets the next `VACUUM` attach its temporary database, and nothing after it.
  func withAttachAllowed(_ body: () throws(StoreError) -> Void) throws(StoreError) {
    unsafe sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 1)
    defer { unsafe sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0) }
    try body()
  }

  /// What a checkpoint did.
  struct Checkpoint {
    /// Another connection kept it from finishing.
    var isBusy: Bool
    var framesInLog: Int
    var framesMoved: Int
  }

  /// Moves committed pages from the write-ahead log into the database file; with `truncate` also empties the log,
  /// which needs every reader gone.
  func checkpoint(truncate: Bool) throws(StoreError) -> Checkpoint {
    var inLog: Int32 = 0
    var moved: Int32 = 0
    let mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE
    let code = unsafe sqlite3_wal_checkpoint_v2(handle, nil, mode, &inLog, &moved)
    guard code == SQLITE_OK || code & 0xFF == SQLITE_BUSY || code & 0xFF == SQLITE_LOCKED else {
      throw failure(code, operation: "checkpoint")
    }
    return Checkpoint(isBusy: code != SQLITE_OK, framesInLog: Int(inLog), framesMoved: Int(moved))
  }

  /// Keeps this connection, should it be the last, from changing the files when it closes.
  func leaveLogOnClose() {
    _ = unsafe ckv_sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
  }

  /// Milliseconds to wait for other connections' locks from now on.
  func setBusyTimeout(milliseconds: Int32) { unsafe sqlite3_busy_timeout(handle, milliseconds) }

  /// Rows that the newest statement inserted, changed or deleted.
  var changedRowCount: Int { Int(unsafe sqlite3_changes(handle)) }

  /// Whether a transaction is open.
  var isInTransaction: Bool { unsafe sqlite3_get_autocommit(handle) == 0 }

  /// Opens and hardens; on failure nothing stays open.
  private static func openHandle(
    path: String, place: String, mode: ConnectionMode
  ) throws(StoreError) -> OpaquePointer {
    let registered = ckv_page_vfs_register()
    guard registered == SQLITE_OK else {
      throw .database(operation: "register the page checksum layer", code: registered, message: "")
    }
    var flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW
    var name = place
    switch mode {
    case .create: flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
    case .readWrite: flags |= SQLITE_OPEN_READWRITE
    case .readOnly: flags |= SQLITE_OPEN_READONLY
    case .immutable:
      flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI
      name = "file:" + percentEncoded(place) + "?immutable=1"
    }
    var opened: OpaquePointer?
    var code = unsafe sqlite3_open_v2(name, &opened, flags, "ckvdb")
    if code == SQLITE_OK, let handle = unsafe opened {
      unsafe sqlite3_busy_timeout(handle, busyTimeoutMilliseconds)
      code = unsafe Hardening.apply(handle, mode)
      if code == SQLITE_OK, mode == .create {
        var reserve = Int32(reservedByteCount)
        code = unsafe sqlite3_file_control(handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve)
      }
      if code == SQLITE_OK { return unsafe handle }
    }
    let failure = unsafe failure(opened, code, operation: "open", path: path)
    unsafe sqlite3_close_v2(opened)
    throw failure
  }

  /// What the connection is set to, by name: `Hardening` and what it asks SQLite for.
  func settings() throws(StoreError) -> [String: Int] {
    var settings = unsafe Hardening.state(of: handle)
    for name in ["cell_size_check", "mmap_size", "secure_delete", "wal_autocheckpoint"] {
      // Without memory mapping there may be no row.
      settings[name] = Int(try integer("PRAGMA \(name)") ?? 0)
    }
    return settings
  }

  private func failure(_ code: Int32, operation: String) -> StoreError {
    unsafe Self.failure(handle, code, operation: operation, path: path)
  }

  /// Sorts SQLite's codes into the store's errors.
  static func failure(_ handle: OpaquePointer?, _ code: Int32, operation: String, path: String) -> StoreError {
    let message =
      unsafe handle.map { unsafe String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
    switch code & 0xFF {
    case SQLITE_BUSY, SQLITE_LOCKED:
      return .busy("\(path): \(message)")
    case SQLITE_NOTADB:
      return .notAStore(path: path, reason: "\(message), or its first page is damaged")
    case SQLITE_CORRUPT:
      return .damaged("\(path): \(message)")
    case SQLITE_FULL:
      return .io(operation: "write", path: path, code: 28)  // ENOSPC on every system we know
    case SQLITE_IOERR where code == SQLITE_IOERR_DATA_CODE || code == SQLITE_IOERR_SHORT_READ_CODE:
      return .damaged("\(path): a page's checksum does not match its content")
    case SQLITE_IOERR:
      return .io(operation: operation, path: path, code: unsafe handle.map { unsafe sqlite3_system_errno($0) } ?? 0)
    case SQLITE_CANTOPEN, SQLITE_PERM:
      return .io(operation: "open", path: path, code: unsafe handle.map { unsafe sqlite3_system_errno($0) } ?? 0)
    case SQLITE_READONLY:
      return .readOnly
    default:
      return .database(operation: operation, code: code, message: message)
    }
  }

  private static let SQLITE_IOERR_DATA_CODE = SQLITE_IOERR | (32 << 8)
  private static let SQLITE_IOERR_SHORT_READ_CODE = SQLITE_IOERR | (2 << 8)

  private static func percentEncoded(_ path: String) -> String {
    path.utf8.map { byte in
      let isPlain =
        byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
        || byte == UInt8(ascii: "_") || (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90)
        || (byte >= 97 && byte <= 122)
      return isPlain ? String(UnicodeScalar(byte)) : "%" + Hex.encode([byte])
    }.joined()
  }
}

/// SQLite's version, as the library that is loaded says it.
package var sqliteVersion: String { unsafe String(cString: sqlite3_libversion()) }
