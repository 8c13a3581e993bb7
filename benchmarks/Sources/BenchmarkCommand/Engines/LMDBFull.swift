/// LMDB with a user's full keys and values as one value, attended where it lies in the map: nothing is copied. A value
/// is preceded by 48 bytes, which puts its rows on cache lines: LMDB's own page header has 16.

import CLMDB

final class LMDBFull: FullCache {
  let name = "LMDB"
  private static let leadByteCount = 48
  fileprivate var environment: OpaquePointer?
  fileprivate var table = MDB_dbi()
  private lazy var ownReader = Result { try LMDBFullReader(self) }

  init(path: String, byteCount: Int) throws {
    try Files.makeDirectory(path)
    try Self.check(mdb_env_create(&environment))
    try Self.check(mdb_env_set_mapsize(environment, byteCount * 2 + (1 << 30)))
    // The processor reads ahead within a value; the system must not do so beyond it.
    try Self.check(mdb_env_open(environment, path, UInt32(MDB_NOSYNC | MDB_NORDAHEAD | MDB_NOTLS), 0o600))
    try write { try Self.check(mdb_dbi_open($0, nil, UInt32(MDB_INTEGERKEY | MDB_CREATE), &table)) }
  }

  func load(_ population: Population, _ rows: FullRows) throws {
    for (user, length) in zip(population.ids, population.lengths) {
      try write { transaction in
        var (name, value) = (user, MDB_val())
        value.mv_size = Self.leadByteCount + FullRows.byteCount(positions: length)
        try Self.check(
          withUnsafeMutableBytes(of: &name) { bytes in
            var key = MDB_val(mv_size: 8, mv_data: bytes.baseAddress)
            return mdb_put(transaction, table, &key, &value, UInt32(MDB_RESERVE | MDB_APPEND))
          })
        rows.write(user, count: length, to: value.mv_data + Self.leadByteCount)
      }
    }
    // Written back now, not while something is measured.
    try Self.check(mdb_env_sync(environment, 1))
  }

  func read(_ user: Int64, _ body: (UnsafeRawPointer) -> Void) throws { try ownReader.get().read(user, body) }

  func close() throws {
    try ownReader.get().close()
    mdb_env_close(environment)
    environment = nil
  }

  private func write(_ body: (OpaquePointer?) throws -> Void) throws {
    var transaction: OpaquePointer?
    try Self.check(mdb_txn_begin(environment, nil, 0, &transaction))
    do {
      try body(transaction)
    } catch {
      mdb_txn_abort(transaction)
      throw error
    }
    try Self.check(mdb_txn_commit(transaction))
  }

  fileprivate static func check(_ code: Int32) throws {
    guard code == 0 else { throw BenchmarkError("LMDB: \(String(cString: mdb_strerror(code)))") }
  }

  fileprivate static func value(_ transaction: OpaquePointer?, _ table: MDB_dbi, _ user: Int64) throws
    -> UnsafeRawPointer
  {
    var (name, value) = (user, MDB_val())
    try check(
      withUnsafeMutableBytes(of: &name) { bytes in
        var key = MDB_val(mv_size: 8, mv_data: bytes.baseAddress)
        return mdb_get(transaction, table, &key, &value)
      })
    return UnsafeRawPointer(value.mv_data) + leadByteCount
  }
}

/// One thread's read transactions, renewed for every read.
final class LMDBFullReader {
  private let table: MDB_dbi
  private var transaction: OpaquePointer?

  init(_ store: LMDBFull) throws {
    table = store.table
    try LMDBFull.check(mdb_txn_begin(store.environment, nil, UInt32(MDB_RDONLY), &transaction))
    mdb_txn_reset(transaction)
  }

  func read(_ user: Int64, _ body: (UnsafeRawPointer) -> Void) throws {
    try LMDBFull.check(mdb_txn_renew(transaction))
    defer { mdb_txn_reset(transaction) }
    body(try LMDBFull.value(transaction, table, user))
  }

  func close() {
    mdb_txn_abort(transaction)
    transaction = nil
  }
}
