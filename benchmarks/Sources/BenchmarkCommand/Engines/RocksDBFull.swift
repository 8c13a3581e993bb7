/// RocksDB with a user's full keys and values as one value, attended in the block cache: a pinned slice copies nothing.
/// The block cache holds the whole set, so that blocks are read and their checksums verified once, before anything is
/// measured. The values are not compressed: they would have to be decompressed, and random numbers gain nothing.

import CRocksDB
import Glibc

final class RocksDBFull: FullCache {
  let name = "RocksDB"
  private var database: OpaquePointer?
  private let options = rocksdb_options_create()
  private let readOptions = rocksdb_readoptions_create()
  private let writeOptions = rocksdb_writeoptions_create()

  init(path: String, byteCount: Int) throws {
    rocksdb_options_set_create_if_missing(options, 1)
    rocksdb_options_set_compression(options, Int32(rocksdb_no_compression))
    // One shard: with the default, a shard may be too small for a single long history.
    let cacheOptions = rocksdb_lru_cache_options_create()
    rocksdb_lru_cache_options_set_capacity(cacheOptions, byteCount * 2 + (64 << 20))
    rocksdb_lru_cache_options_set_num_shard_bits(cacheOptions, 0)
    let cache = rocksdb_cache_create_lru_opts(cacheOptions)
    rocksdb_lru_cache_options_destroy(cacheOptions)
    let table = rocksdb_block_based_options_create()
    rocksdb_block_based_options_set_block_cache(table, cache)
    rocksdb_options_set_block_based_table_factory(options, table)
    rocksdb_block_based_options_destroy(table)
    rocksdb_cache_destroy(cache)
    rocksdb_writeoptions_disable_WAL(writeOptions, 1)
    try call { database = rocksdb_open(options, path, $0) }
  }

  deinit {
    rocksdb_readoptions_destroy(readOptions)
    rocksdb_writeoptions_destroy(writeOptions)
    rocksdb_options_destroy(options)
  }

  func load(_ population: Population, _ rows: FullRows) throws {
    for (user, length) in zip(population.ids, population.lengths) {
      let byteCount = FullRows.byteCount(positions: length)
      let bytes = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
      defer { bytes.deallocate() }
      rows.write(user, count: length, to: bytes)
      try withKey(user) { key in
        let value = bytes.assumingMemoryBound(to: CChar.self)
        try call { rocksdb_put(database, writeOptions, key, 8, value, byteCount, $0) }
      }
    }
    // One sorted run: a read looks into one file.
    rocksdb_compact_range(database, nil, 0, nil, 0)
  }

  func read(_ user: Int64, _ body: (UnsafeRawPointer) -> Void) throws {
    try withKey(user) { key in
      var slice: OpaquePointer?
      try call { slice = rocksdb_get_pinned(database, readOptions, key, 8, $0) }
      defer { rocksdb_pinnableslice_destroy(slice) }
      var byteCount = 0
      guard let bytes = rocksdb_pinnableslice_value(slice, &byteCount) else {
        throw BenchmarkError("RocksDB: no user \(user)")
      }
      body(bytes)
    }
  }

  func close() throws {
    rocksdb_close(database)
    database = nil
  }

  private func withKey(_ user: Int64, _ body: (UnsafePointer<CChar>) throws -> Void) throws {
    try withUnsafeBytes(of: UInt64(bitPattern: user).bigEndian) {
      try body($0.baseAddress!.assumingMemoryBound(to: CChar.self))
    }
  }

  private func call(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Void) throws {
    var error: UnsafeMutablePointer<CChar>?
    body(&error)
    guard let error else { return }
    defer { rocksdb_free(error) }
    throw BenchmarkError("RocksDB: \(String(cString: error))")
  }
}
