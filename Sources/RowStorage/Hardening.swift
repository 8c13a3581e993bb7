/// What every connection is set to before the first byte of a database is believed: a file that somebody else made must
/// not run code, change the schema behind the engine's back or lead to other files. A library that does not know a
/// setting is refused. Only Connection.swift applies this.

internal import CSQLite
package import CacheTypes

/// The settings of one connection.
enum Hardening {
  /// SQLite's on/off settings by name: all are off but the first.
  static let switches: [(name: String, code: Int32, value: Int32)] = [
    ("defensive", SQLITE_DBCONFIG_DEFENSIVE, 1), ("trusted_schema", SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
    ("triggers", SQLITE_DBCONFIG_ENABLE_TRIGGER, 0), ("views", SQLITE_DBCONFIG_ENABLE_VIEW, 0),
    ("load_extension", SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
  ]

  static let pragmas = """
    PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA secure_delete=ON; PRAGMA wal_autocheckpoint=0
    """

  /// Hardens a connection that has read nothing yet.
  ///
  /// - Returns: SQLite's code.
  static func apply(_ handle: OpaquePointer, _ mode: ConnectionMode) -> Int32 {
    for (_, setting, value) in switches {
      let code = unsafe ckv_sqlite3_db_config(handle, setting, value)
      guard code == SQLITE_OK else { return code }
    }
    // A reader that is the last to leave must not change the files.
    let code = unsafe ckv_sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, mode == .readOnly ? 1 : 0)
    guard code == SQLITE_OK else { return code }
    unsafe sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0)
    return unsafe sqlite3_exec(handle, pragmas, nil, nil, nil)
  }

  /// What a connection is set to, by name.
  static func state(of handle: OpaquePointer) -> [String: Int] {
    var state: [String: Int] = [:]
    for (name, setting, _) in switches { state[name] = Int(unsafe ckv_sqlite3_db_config_value(handle, setting)) }
    state["attached"] = Int(unsafe sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, -1))
    return state
  }
}

extension RowStore {
  /// What the connections of this object are set to, by name: the reading one's and, if it may write, the writing
  /// one's.
  package func connectionSettings() throws(StoreError) -> [[String: Int]] {
    var settings = [try withReader { (session) throws(StoreError) in try session.connection.settings() }]
    if access == .readWrite {
      settings.append(try writing { (writer) throws(StoreError) in try writer.session.connection.settings() })
    }
    return settings
  }
}
