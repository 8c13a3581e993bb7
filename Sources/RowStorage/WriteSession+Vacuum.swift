/// Rewriting the database file: without free space, or with pages of another size. The write-ahead log is used before
/// and after. The file is never replaced by another one; the caller leads the store's WriterQueue.

internal import CacheTypes

extension WriteSession {
  /// Rewrites the database without free space. Readers go on; other writers wait.
  func vacuum() throws(StoreError) {
    try connection.withAttachAllowed { () throws(StoreError) in try connection.execute("VACUUM") }
  }

  /// Rewrites the database with pages of another size. Until that is done, a rollback journal takes the place of the
  /// write-ahead log: a kill leaves the old pages or the new.
  ///
  /// - Throws: `StoreError.busy` while any other connection is open.
  func changePageSize(to byteCount: Int) throws(StoreError) {
    connection.setBusyTimeout(milliseconds: 200)
    defer { connection.setBusyTimeout(milliseconds: Connection.busyTimeoutMilliseconds) }
    guard try connection.texts("PRAGMA journal_mode = DELETE") == ["delete"] else {
      throw .busy("\(connection.path): the page size can change only while no other connection is open")
    }
    let isChanged: Result<Void, StoreError>
    do throws(StoreError) {
      try connection.execute("PRAGMA page_size = \(byteCount)")
      try vacuum()
      isChanged = .success(())
    } catch {
      isChanged = .failure(error)
    }
    try Self.useLog(connection)
    try isChanged.get()
  }

  /// Makes sure that commits go to the write-ahead log.
  static func useLog(_ connection: borrowing Connection) throws(StoreError) {
    guard try connection.texts("PRAGMA journal_mode = WAL") == ["wal"] else {
      throw .busy("\(connection.path): somebody keeps the write-ahead log from being used")
    }
  }
}
