/// Making a database: pragmas that can only be set while it is empty, then tables, model and counters in one
/// transaction.

package import CacheTypes

extension RowStore {
  /// Makes the database of a new store; nothing is left open. The file must exist, empty and private to its owner:
  /// SQLite gives its log the same permissions.
  package static func create(
    path: String, storeID: [UInt8], model: ModelRecord, element: ElementType, columns: KeptColumns, pageByteCount: Int
  ) throws(StoreError) {
    precondition(Schema.pageByteCounts.contains(pageByteCount), "the caller checks the page size")
    let connection = try Connection(path: path, mode: .create)
    try connection.execute(
      """
      PRAGMA page_size = \(pageByteCount);
      PRAGMA auto_vacuum = NONE;
      PRAGMA encoding = 'UTF-8';
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      BEGIN IMMEDIATE;
      PRAGMA application_id = \(Schema.applicationID);
      PRAGMA user_version = \(Schema.formatVersion);
      """)
    for table in Schema.tables { try connection.execute(table) }
    let modelID = try ModelRecord.insert(model, connection)
    let layout = RowLayout(shape: model.shape, element: element, columns: columns)
    let generation = try Generation.insert(connection, modelID: modelID, layout: layout)
    let meta = try connection.prepare(
      """
      INSERT INTO meta(id, store, generation, next_seq, folded_seq, erase_epoch, erase_pending, positions, commits)
      VALUES(1, ?1, ?2, 1, 0, 0, 0, 0, ?3)
      """)
    meta.bind(copying: storeID, at: 1)
    meta.bind(generation, at: 2)
    meta.bind(Meta.firstCommit, at: 3)
    try meta.run()
    try connection.execute("COMMIT")
    guard try !connection.checkpoint(truncate: true).isBusy else { throw .busy("\(path): somebody else opened it") }
  }

  package static let pageByteCounts = Schema.pageByteCounts
  package static let formatVersion = Int(Schema.formatVersion)
}
