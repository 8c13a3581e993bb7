/// The databases that the tests damage, vacuum and crash, and the independent look at a file: which of its pages do not
/// carry the checksum that the format prescribes, worked out from the bytes alone.

import CSQLite
import CXXHash
import Testing

enum Sample {
  static let everything = "SELECT user, position, payload FROM block ORDER BY user, position"

  /// Fills a new database: keyed rows of all sizes, some of them on overflow pages.
  static func create(
    _ path: String, vfs: String = "ckvdb", pageSize: Int = 4096, journal: String = "WAL", rows: Int = 400,
    seed: UInt64 = 1
  ) throws -> TestDatabase {
    let database = try TestDatabase(path, vfs: vfs)
    try database.run("PRAGMA page_size=\(pageSize); PRAGMA journal_mode=\(journal); PRAGMA synchronous=OFF")
    try database.run(
      """
      CREATE TABLE block(user BLOB, position INTEGER, payload BLOB, PRIMARY KEY(user, position)) WITHOUT ROWID;
      CREATE TABLE tail(seq INTEGER PRIMARY KEY, payload BLOB)
      """)
    try insert(database, rows: rows, seed: seed)
    return database
  }

  static func insert(_ database: TestDatabase, rows: Int, seed: UInt64) throws {
    var random = Seeded(seed)
    try database.run("BEGIN")
    for row in 0..<rows {
      let size =
        row % 50 == 0 ? Int.random(in: 5_000...12_000, using: &random) : Int.random(in: 20...600, using: &random)
      let user = random.bytes(Int.random(in: 1...20, using: &random))
      _ = try database.contents(
        "INSERT INTO block VALUES (?, ?, ?)",
        [.bytes(user), .integer(Int64(row)), .bytes(random.bytes(size))])
      _ = try database.contents("INSERT INTO tail(payload) VALUES (?)", [.bytes(random.bytes(size / 2))])
    }
    try database.run("COMMIT")
  }

  /// All rows of both tables.
  static func contents(_ database: TestDatabase) throws -> [UInt8] {
    try database.contents(everything) + database.contents("SELECT seq, payload FROM tail ORDER BY seq")
  }
}

/// The pages of a file that its own header says there are, and whose last 8 bytes are not what they should be.
func damagedPages(_ path: String) -> [Int] {
  let bytes = Bytes.read(path)
  guard bytes.count >= 512 else { return [0] }
  let size = pageSize(bytes)
  let count = bytes[28..<32].reduce(0) { $0 << 8 | Int($1) }
  guard size >= 512, count * size <= bytes.count else { return [0] }
  return (1...count).filter { number in
    bytes.withUnsafeBytes { raw in
      let page = UnsafeRawBufferPointer(rebasing: raw[(number - 1) * size..<number * size])
      let expected = XXH3_64bits_withSeed(page.baseAddress, size - 8, UInt64(number))
      return UInt64(littleEndian: page.loadUnaligned(fromByteOffset: size - 8, as: UInt64.self)) != expected
    }
  }
}

func pageSize(_ bytes: [UInt8]) -> Int {
  let stated = Int(bytes[16]) << 8 | Int(bytes[17])
  return stated == 1 ? 65_536 : stated
}

/// That the file is sound in every way, with and without the layer: page size, checksums, SQLite's own check, rows.
func expectSound(_ path: String, pageSize: Int, contents: [UInt8], _ note: Comment = "") throws {
  #expect(damagedPages(path) == [], note)
  for vfs in ["ckvdb", "unix"] {
    let database = try TestDatabase(path, vfs: vfs)
    #expect(try database.pragma("page_size") == String(pageSize), note)
    #expect(try database.pragma("integrity_check") == "ok", note)
    #expect(try Sample.contents(database) == contents, note)
  }
}

/// The code of the error that a call throws, or nil.
func errorCode(_ body: () throws -> Void) -> Int32? {
  do {
    try body()
    return nil
  } catch let error as SQLiteError {
    return error.code
  } catch {
    return -1
  }
}
