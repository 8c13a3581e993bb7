/// Replacing the model: from one commit on, new rows belong to another model. Rows of the old one stay where they are
/// and are stale: nothing decodes them as the new model's.

package import CacheTypes

extension RowStore {
  /// Makes `record` the model of new rows. This object goes on serving the old one and refuses to append: open anew.
  package func adopt(_ record: ModelRecord) throws(StoreError) {
    try writing { (writer) throws(StoreError) in
      let connection = writer.session.reading
      try writer.session.setSynced(true)
      _ = try writer.session.transaction { (meta) throws(StoreError) in
        try beginWriting(meta, writer)
        let present = try generation(meta.generation, connection).layout
        let modelID = try ModelRecord.insert(record, connection.connection)
        let layout = RowLayout(shape: record.shape, element: present.element, columns: present.columns)
        let known = try Generation.readAll(connection.connection).values.filter {
          $0.modelID == modelID && $0.layout == layout
        }
        if let id = known.map(\.id).max() {
          meta.generation = id
        } else {
          meta.generation = try Generation.insert(connection.connection, modelID: modelID, layout: layout)
        }
      }
    }
  }

  /// The file names of all models that the database knows.
  package func modelNames() throws(StoreError) -> [String] {
    try withReader { (session) throws(StoreError) in
      try session.connection.texts("SELECT name FROM model ORDER BY id")
    }
  }
}
