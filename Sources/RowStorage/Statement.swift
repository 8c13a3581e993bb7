/// A compiled statement: bind, step, read columns, reset. Columns are checked for their type where a wrong one would
/// mean a damaged or foreign database. Bytes that a column returns are valid until the next step or reset only.

internal import CSQLite
internal import CacheTypes

/// Owns one prepared statement of a connection.
@safe struct Statement: ~Copyable {
  private let handle: OpaquePointer
  private let database: OpaquePointer
  let path: String

  init(_ handle: OpaquePointer, database: OpaquePointer, path: String) {
    unsafe self.handle = handle
    unsafe self.database = database
    self.path = path
  }

  deinit { unsafe sqlite3_finalize(handle) }

  /// Advances to the next row; false at the end, and the statement is then ready to be run again.
  @inline(__always)
  func step() throws(StoreError) -> Bool {
    let code = unsafe sqlite3_step(handle)
    if code == SQLITE_ROW { return true }
    if code == SQLITE_DONE {
      unsafe sqlite3_reset(handle)
      return false
    }
    unsafe sqlite3_reset(handle)
    throw unsafe Connection.failure(
      database, unsafe sqlite3_extended_errcode(database), operation: unsafe String(cString: sqlite3_sql(handle)),
      path: path)
  }

  /// Runs a statement that returns no rows.
  @inline(__always)
  func run() throws(StoreError) {
    if try step() { reset() }
  }

  /// Ends the run and lets go of the snapshot that it held.
  @inline(__always)
  func reset() { unsafe sqlite3_reset(handle) }

  // MARK: Parameters, numbered from 1

  @inline(__always)
  func bind(_ value: Int64, at parameter: Int32) { unsafe sqlite3_bind_int64(handle, parameter, value) }

  @inline(__always)
  func bind(_ value: Int, at parameter: Int32) { bind(Int64(value), at: parameter) }

  @inline(__always)
  func bind(_ user: UserID, at parameter: Int32) {
    switch user {
    case .integer(let value): bind(value, at: parameter)
    case .bytes(let bytes): bind(copying: bytes, at: parameter)
    }
  }

  func bind(copying bytes: [UInt8], at parameter: Int32) {
    if bytes.isEmpty {
      unsafe sqlite3_bind_zeroblob(handle, parameter, 0)
    } else {
      unsafe bytes.withUnsafeBytes { buffer in
        _ = unsafe ckv_sqlite3_bind_blob_copy(handle, parameter, buffer.baseAddress, Int32(buffer.count))
      }
    }
  }

  func bind(_ text: String, at parameter: Int32) {
    _ = unsafe ckv_sqlite3_bind_text_copy(handle, parameter, text, -1)
  }

  /// Binds bytes that stay where they are until the statement has run.
  @inline(__always)
  func bind(borrowing bytes: UnsafeRawBufferPointer, at parameter: Int32) {
    _ = unsafe ckv_sqlite3_bind_blob_static(handle, parameter, bytes.baseAddress, Int32(bytes.count))
  }

  // MARK: Columns, numbered from 0

  @inline(__always)
  func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(handle, column) }

  func text(_ column: Int32) -> String {
    unsafe sqlite3_column_text(handle, column).map { unsafe String(cString: $0) } ?? ""
  }

  func isNull(_ column: Int32) -> Bool { unsafe sqlite3_column_type(handle, column) == SQLITE_NULL }

  /// A column that must hold an integer of at least `minimum`.
  @inline(__always)
  func integer(_ column: Int32, atLeast minimum: Int64, _ name: StaticString) throws(StoreError) -> Int64 {
    guard unsafe sqlite3_column_type(handle, column) == SQLITE_INTEGER else {
      throw .damaged("\(path): \(name) is not an integer")
    }
    let value = integer(column)
    guard value >= minimum else { throw .damaged("\(path): \(name) is \(value)") }
    return value
  }

  /// A user id: an integer or bytes.
  func user(_ column: Int32) throws(StoreError) -> UserID {
    switch unsafe sqlite3_column_type(handle, column) {
    case SQLITE_INTEGER: return .integer(integer(column))
    case SQLITE_BLOB:
      let bytes = unsafe withBytes(column) { unsafe Array($0) }
      guard bytes.count <= UserID.byteCountLimit else { throw .damaged("\(path): a user id has \(bytes.count) bytes") }
      return .bytes(bytes)
    default: throw .damaged("\(path): a user id is neither an integer nor bytes")
    }
  }

  /// The bytes of a blob column; empty for anything else.
  @inline(__always)
  func withBytes<Result, Failure: Error>(
    _ column: Int32, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let start = unsafe sqlite3_column_blob(handle, column)
    let count = unsafe start == nil ? 0 : Int(sqlite3_column_bytes(handle, column))
    return try unsafe body(UnsafeRawBufferPointer(start: start, count: count))
  }

  func bytes(_ column: Int32) -> [UInt8] { unsafe withBytes(column) { unsafe Array($0) } }
}
