/// The tables of format version 1: their SQL, what a new database is given, and the exact comparison at open.
/// schema/format-1.sql is the same text; a test holds the two together.

internal import CacheTypes

/// The database format that this code writes and reads.
enum Schema {
  /// `PRAGMA application_id`: "CKVd".
  static let applicationID: Int64 = 0x434B_5664
  /// `PRAGMA user_version`.
  static let formatVersion: Int64 = 1
  /// Default size of a database page, in bytes.
  static let pageByteCount = 8_192
  static let pageByteCounts = [4_096, 8_192, 16_384, 32_768, 65_536]

  static let block = """
    CREATE TABLE block(
      place INTEGER PRIMARY KEY,
      count INTEGER NOT NULL,
      generation INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      payload BLOB NOT NULL
    )
    """
  static let user = """
    CREATE TABLE user(
      number INTEGER PRIMARY KEY,
      user NOT NULL UNIQUE
    )
    """
  static let tail = """
    CREATE TABLE tail(
      seq INTEGER PRIMARY KEY,
      user NOT NULL,
      position INTEGER NOT NULL,
      count INTEGER NOT NULL,
      generation INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      payload BLOB NOT NULL
    )
    """
  static let meta = """
    CREATE TABLE meta(
      id INTEGER PRIMARY KEY CHECK(id = 1),
      store BLOB NOT NULL,
      generation INTEGER NOT NULL,
      next_seq INTEGER NOT NULL,
      folded_seq INTEGER NOT NULL,
      erase_epoch INTEGER NOT NULL,
      erase_pending INTEGER NOT NULL,
      positions INTEGER NOT NULL,
      commits INTEGER NOT NULL
    )
    """
  static let model = """
    CREATE TABLE model(
      id INTEGER PRIMARY KEY,
      digest BLOB NOT NULL UNIQUE,
      name TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      chunks BLOB NOT NULL,
      layout BLOB NOT NULL
    )
    """
  static let generation = """
    CREATE TABLE generation(
      id INTEGER PRIMARY KEY,
      model INTEGER NOT NULL,
      element INTEGER NOT NULL,
      columns INTEGER NOT NULL,
      format INTEGER NOT NULL
    )
    """

  /// In the order of their creation.
  static let tables = [block, user, tail, meta, model, generation]

  /// Checks that an open database is a store of this format, table by table and letter by letter.
  static func verify(_ connection: borrowing Connection) throws(StoreError) {
    let path = connection.path
    guard try connection.integer("PRAGMA application_id") == applicationID else {
      throw .notAStore(path: path, reason: "the database belongs to another application")
    }
    let version = try connection.integer("PRAGMA user_version") ?? 0
    guard version <= formatVersion else {
      throw .newerFormat(path: path, found: Int(version), supported: Int(formatVersion))
    }
    guard version == formatVersion else {
      throw .notAStore(path: path, reason: "format version \(version) was never released")
    }
    let found = try connection.texts("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
    guard found == tables else {
      throw .damaged("\(path): the schema is not that of format version \(formatVersion)")
    }
  }
}
