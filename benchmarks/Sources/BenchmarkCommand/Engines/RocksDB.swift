/// RocksDB with a key per position, big-endian user and position, so that a history is one range. The length of a
/// history comes from its last key, or from a column family of lengths.

import CRocksDB
import Glibc

final class RocksDBKeys: Engine {
  struct Settings {
    /// `nil`: RocksDB's default of 64 MiB.
    var writeBufferByteCount: Int?
    /// `nil`: RocksDB's default of 8 MiB.
    var blockCacheByteCount: Int?
    /// Whether lengths have keys of their own; otherwise a user's last key is sought.
    var keepsLengths = false
    var label = ""
  }

  let name: String
  let path: String
  let settings: Settings
  private var database: OpaquePointer?
  private var families: [OpaquePointer?] = [nil, nil]
  private let options = rocksdb_options_create()
  private let readOptions = rocksdb_readoptions_create()
  private let rangeOptions = rocksdb_readoptions_create()
  private let writeOptions = rocksdb_writeoptions_create()
  private let loadOptions = rocksdb_writeoptions_create()
  private let batch = rocksdb_writebatch_create()
  private let buffer = EntryBuffer()
  private let key = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)
  private let limit = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)
  private let scratch = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)
  private static let keyByteCount = 12

  init(path: String, _ settings: Settings) throws {
    self.path = path
    self.settings = settings
    name = "RocksDB, key per position" + (settings.label.isEmpty ? "" : ", " + settings.label)
    rocksdb_options_set_create_if_missing(options, 1)
    rocksdb_options_set_create_missing_column_families(options, 1)
    if let count = settings.writeBufferByteCount { rocksdb_options_set_write_buffer_size(options, count) }
    if let count = settings.blockCacheByteCount {
      let cache = rocksdb_cache_create_lru(count)
      let table = rocksdb_block_based_options_create()
      rocksdb_block_based_options_set_block_cache(table, cache)
      rocksdb_options_set_block_based_table_factory(options, table)
      rocksdb_block_based_options_destroy(table)
      rocksdb_cache_destroy(cache)
    }
    rocksdb_writeoptions_set_sync(writeOptions, 1)
    rocksdb_writeoptions_disable_WAL(loadOptions, 1)
    try open()
  }

  deinit {
    for memory in [key, limit, scratch] { memory.deallocate() }
    rocksdb_writebatch_destroy(batch)
    for options in [readOptions, rangeOptions] { rocksdb_readoptions_destroy(options) }
    for options in [writeOptions, loadOptions] { rocksdb_writeoptions_destroy(options) }
    rocksdb_options_destroy(options)
  }

  /// Opens the database; also after a close.
  func open() throws {
    let names = ["default", "lengths"].map { (name: String) in UnsafePointer<CChar>(strdup(name)) }
    defer { names.forEach { free(UnsafeMutablePointer(mutating: $0)) } }
    try call { error in
      database = rocksdb_open_column_families(
        options, path, 2, names, [options, options], &families, error)
    }
  }

  func load(_ population: Population) throws {
    var pending = 0
    for (user, length) in zip(population.ids, population.lengths) {
      for position in 0..<length { put(user, position, Entry(user: user, position: position)) }
      if settings.keepsLengths { put(user, length: length) }
      pending += length
      if pending >= 10_000 {
        try write(loadOptions)
        pending = 0
      }
    }
    try write(loadOptions)
    try compact()
  }

  func commit(_ commit: Commit) throws {
    let lengths = settings.keepsLengths ? try keptLengths(commit.runs) : try soughtLengths(commit.runs)
    for (run, length) in zip(commit.runs, lengths) {
      for place in 0..<run.count { put(run.user, length + place, commit.entries[run.start + place]) }
      if settings.keepsLengths { put(run.user, length: length + run.count) }
    }
    try write(writeOptions)
  }

  func read(_ user: Int64) throws -> Int {
    setKey(key, user, 0)
    setKey(limit, user + 1, 0)
    rocksdb_readoptions_set_iterate_upper_bound(rangeOptions, bytes(limit), Self.keyByteCount)
    let iterator = rocksdb_create_iterator_cf(database, rangeOptions, families[0])
    defer { rocksdb_iter_destroy(iterator) }
    rocksdb_iter_seek(iterator, bytes(key), Self.keyByteCount)
    var count = 0
    while rocksdb_iter_valid(iterator) != 0, count < buffer.capacity {
      var byteCount = 0
      memcpy(buffer.bytes + count * Entry.byteCount, rocksdb_iter_value(iterator, &byteCount), Entry.byteCount)
      count += 1
      rocksdb_iter_next(iterator)
    }
    try call { rocksdb_iter_get_error(iterator, $0) }
    return count
  }

  func hash(of user: Int64) throws -> (positions: Int, hash: UInt64) {
    let count = try read(user)
    return (count, buffer.hash(count))
  }

  /// Empties the write buffers and waits until no compaction is running or due.
  func settle() throws {
    let flush = rocksdb_flushoptions_create()
    defer { rocksdb_flushoptions_destroy(flush) }
    rocksdb_flushoptions_set_wait(flush, 1)
    for family in families { try call { rocksdb_flush_cf(database, flush, family, $0) } }
    let names = ["rocksdb.num-running-compactions", "rocksdb.compaction-pending", "rocksdb.num-running-flushes"]
    var quiet = 0
    while quiet < 3 {
      let isBusy = families.contains { family in
        names.contains { name in
          var value: UInt64 = 0
          return rocksdb_property_int_cf(database, family, name, &value) == 0 && value > 0
        }
      }
      quiet = isBusy ? 0 : quiet + 1
      usleep(1_000)
    }
  }

  func compact() throws {
    try settle()
    for family in families { rocksdb_compact_range_cf(database, family, nil, 0, nil, 0) }
    try settle()
  }

  func close() throws {
    for family in families { rocksdb_column_family_handle_destroy(family) }
    rocksdb_close(database)
    database = nil
  }

  // MARK: Lengths

  private func soughtLengths(_ runs: [Run]) throws -> [Int] {
    let iterator = rocksdb_create_iterator_cf(database, readOptions, families[0])
    defer { rocksdb_iter_destroy(iterator) }
    return runs.map { run in
      setKey(key, run.user, Int(UInt32.max))
      rocksdb_iter_seek_for_prev(iterator, bytes(key), Self.keyByteCount)
      var byteCount = 0
      guard rocksdb_iter_valid(iterator) != 0, let found = rocksdb_iter_key(iterator, &byteCount),
        memcmp(found, key, 8) == 0
      else { return 0 }
      let position = UnsafeRawPointer(found).loadUnaligned(fromByteOffset: 8, as: UInt32.self)
      return Int(UInt32(bigEndian: position)) + 1
    }
  }

  private func keptLengths(_ runs: [Run]) throws -> [Int] {
    let names = runs.map { UInt64(bitPattern: $0.user).bigEndian }
    var values = [OpaquePointer?](repeating: nil, count: runs.count)
    var errors = [UnsafeMutablePointer<CChar>?](repeating: nil, count: runs.count)
    names.withUnsafeBytes { raw in
      let keys = (0..<runs.count).map {
        (raw.baseAddress! + $0 * 8).assumingMemoryBound(to: CChar.self) as UnsafePointer?
      }
      rocksdb_batched_multi_get_cf(
        database, readOptions, families[1], runs.count, keys, Array(repeating: 8, count: runs.count), &values, &errors,
        true)
    }
    for error in errors { if let error { throw failure(error) } }
    return values.map { value in
      guard let value else { return 0 }
      defer { rocksdb_pinnableslice_destroy(value) }
      var byteCount = 0
      guard let bytes = rocksdb_pinnableslice_value(value, &byteCount), byteCount == 4 else { return 0 }
      return Int(UnsafeRawPointer(bytes).loadUnaligned(as: UInt32.self))
    }
  }

  // MARK: Writing

  private func put(_ user: Int64, _ position: Int, _ entry: Entry) {
    setKey(key, user, position)
    entry.write(to: scratch)
    rocksdb_writebatch_put_cf(
      batch, families[0], bytes(key), Self.keyByteCount, bytes(scratch), Entry.byteCount)
  }

  private func put(_ user: Int64, length: Int) {
    setKey(key, user, 0)
    scratch.storeBytes(of: UInt32(length), as: UInt32.self)
    rocksdb_writebatch_put_cf(batch, families[1], bytes(key), 8, bytes(scratch), 4)
  }

  private func write(_ options: OpaquePointer?) throws {
    try call { rocksdb_write(database, options, batch, $0) }
    rocksdb_writebatch_clear(batch)
  }

  private func setKey(_ memory: UnsafeMutableRawPointer, _ user: Int64, _ position: Int) {
    memory.storeBytes(of: UInt64(bitPattern: user).bigEndian, as: UInt64.self)
    memory.storeBytes(of: UInt32(position).bigEndian, toByteOffset: 8, as: UInt32.self)
  }

  private func bytes(_ memory: UnsafeMutableRawPointer) -> UnsafePointer<CChar> {
    UnsafePointer(memory.assumingMemoryBound(to: CChar.self))
  }

  private func call(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Void) throws {
    var error: UnsafeMutablePointer<CChar>?
    body(&error)
    if let error { throw failure(error) }
  }

  private func failure(_ error: UnsafeMutablePointer<CChar>) -> BenchmarkError {
    defer { rocksdb_free(error) }
    return BenchmarkError("\(path): RocksDB: \(String(cString: error))")
  }
}
