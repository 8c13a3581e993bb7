/// LMDB with one value per user: the whole history, read and rewritten by every append.

import CLMDB
import Glibc

final class LMDBValues: Engine {
  let name = "LMDB, value per user"
  let path: String
  private var environment: OpaquePointer?
  private var table = MDB_dbi()
  private var reader: OpaquePointer?
  private let buffer = EntryBuffer()
  private let mapByteCount = 64 << 30

  init(path: String) throws {
    self.path = path
    try Files.makeDirectory(path)
    try check(mdb_env_create(&environment))
    try check(mdb_env_set_mapsize(environment, mapByteCount))
    try check(mdb_env_open(environment, path, 0, 0o600))
    try write { try check(mdb_dbi_open($0, nil, UInt32(MDB_INTEGERKEY | MDB_CREATE), &table)) }
    try check(mdb_txn_begin(environment, nil, UInt32(MDB_RDONLY), &reader))
    mdb_txn_reset(reader)
  }

  func load(_ population: Population) throws {
    try check(mdb_env_set_flags(environment, UInt32(MDB_NOSYNC), 1))
    let count = 20_000
    for start in stride(from: 0, to: population.count, by: count) {
      try write { transaction in
        for place in start..<min(start + count, population.count) {
          let (user, length) = (population.ids[place], population.lengths[place])
          let bytes = try reserve(transaction, user, byteCount: length * Entry.byteCount, flags: MDB_APPEND)
          for position in 0..<length {
            Entry(user: user, position: position).write(to: bytes + position * Entry.byteCount)
          }
        }
      }
    }
    try check(mdb_env_set_flags(environment, UInt32(MDB_NOSYNC), 0))
    try check(mdb_env_sync(environment, 1))
  }

  func commit(_ commit: Commit) throws {
    try write { transaction in
      for run in commit.runs {
        var byteCount = 0
        if let old = try value(transaction, run.user) {
          byteCount = old.mv_size
          memcpy(buffer.bytes, old.mv_data, byteCount)
        }
        let bytes = try reserve(transaction, run.user, byteCount: byteCount + run.count * Entry.byteCount, flags: 0)
        memcpy(bytes, buffer.bytes, byteCount)
        for place in 0..<run.count {
          commit.entries[run.start + place].write(to: bytes + byteCount + place * Entry.byteCount)
        }
      }
    }
  }

  func read(_ user: Int64) throws -> Int {
    try check(mdb_txn_renew(reader))
    defer { mdb_txn_reset(reader) }
    guard let found = try value(reader, user) else { return 0 }
    memcpy(buffer.bytes, found.mv_data, min(found.mv_size, buffer.capacity * Entry.byteCount))
    return found.mv_size / Entry.byteCount
  }

  func hash(of user: Int64) throws -> (positions: Int, hash: UInt64) {
    let count = try read(user)
    return (count, buffer.hash(count))
  }

  func settle() throws { try check(mdb_env_sync(environment, 1)) }

  /// LMDB never compacts in place.
  func compact() throws {}

  func close() throws {
    mdb_txn_abort(reader)
    mdb_env_close(environment)
    (reader, environment) = (nil, nil)
  }

  private func write(_ body: (OpaquePointer?) throws -> Void) throws {
    var transaction: OpaquePointer?
    try check(mdb_txn_begin(environment, nil, 0, &transaction))
    do {
      try body(transaction)
    } catch {
      mdb_txn_abort(transaction)
      throw error
    }
    try check(mdb_txn_commit(transaction))
  }

  private func value(_ transaction: OpaquePointer?, _ user: Int64) throws -> MDB_val? {
    var (name, value) = (user, MDB_val())
    let code = withUnsafeMutableBytes(of: &name) { bytes in
      var key = MDB_val(mv_size: 8, mv_data: bytes.baseAddress)
      return mdb_get(transaction, table, &key, &value)
    }
    if code == MDB_NOTFOUND { return nil }
    try check(code)
    return value
  }

  /// Makes room for a user's value; the caller fills it before the transaction ends.
  private func reserve(_ transaction: OpaquePointer?, _ user: Int64, byteCount: Int, flags: Int32) throws
    -> UnsafeMutableRawPointer
  {
    var (name, value) = (user, MDB_val(mv_size: byteCount, mv_data: nil))
    try check(
      withUnsafeMutableBytes(of: &name) { bytes in
        var key = MDB_val(mv_size: 8, mv_data: bytes.baseAddress)
        return mdb_put(transaction, table, &key, &value, UInt32(MDB_RESERVE | flags))
      })
    return value.mv_data
  }

  private func check(_ code: Int32) throws {
    guard code == 0 else { throw BenchmarkError("\(path): LMDB: \(String(cString: mdb_strerror(code)))") }
  }
}
