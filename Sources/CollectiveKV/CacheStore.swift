/// A store: users' histories as compressed keys and values, and attention over them. It composes the pool blob, the
/// rows and the attention runtime, and adds nothing of its own but the directory that holds them together.
///
/// Thread-safe: any number of threads may read, attend and append at the same time; appends that meet share one commit.
/// Other processes may have the same store open.

internal import KVRuntime
internal import PoolStorage
internal import RowStorage
internal import Synchronization

/// An open store.
public final class CacheStore: Sendable {
  /// As it was given; it names the store in messages.
  public let path: String
  /// Where the store is: absolute, free of links.
  let place: String
  public let model: ModelDescription
  let rows: RowStore
  let pool: MappedPool
  /// Made at the first append of embeddings: its weights are checked and packed then.
  private let lazyEncoder = Mutex<Encoder?>(nil)
  let rotations = ModelRotations()

  init(path: String, place: String, rows: RowStore, pool: MappedPool) {
    self.path = path
    self.place = place
    self.rows = rows
    self.pool = pool
    model = ModelDescription(
      shape: rows.model.shape, digest: Hex.encode(rows.model.digest), takesItems: pool.model.takesItems,
      itemCount: pool.model.itemEmbedding.map { $0.shape[0] })
  }

  deinit { try? close() }

  /// Folds the tail down, empties the log and closes the database. Every later call that reads or writes histories
  /// throws
  /// `StoreError.closed`.
  ///
  /// - Throws: `.io`, `.database` or `.damaged` if the upkeep failed; everything that was appended is on disk all the
  ///   same.
  public func close() throws(StoreError) { try rows.close() }

  /// Whether item ids are kept beside the entries.
  public var keepsItems: Bool { columns.contains(.items) }
  /// Whether timestamps are kept beside the entries.
  public var keepsTimestamps: Bool { columns.contains(.timestamps) }
  var columns: KeptColumns { rows.columns }

  /// Turns embeddings into entries, without storing them.
  ///
  /// - Parameters:
  ///   - embeddings: `count x layers x d_e`, row-major.
  ///   - items: item ids, for layers that are interned.
  /// - Throws: `StoreError.invalidInput` naming the row.
  /// - Complexity: O(count · d_e · (d_u + m)) per layer and side.
  public func encode(_ embeddings: [Float], count: Int, items: [Int64]? = nil) throws(StoreError) -> Entries {
    try encoder().encode(embeddings: embeddings, count: count, isPerLayer: true, items: items)
  }

  func encoder() throws(StoreError) -> Encoder {
    try lazyEncoder.withLock { (encoder) throws(StoreError) in
      if let encoder { return encoder }
      for layer in pool.model.layers.indices { try pool.verify(layer: layer) }
      try pool.verifyItemEmbedding()
      let made = Encoder(shape: model.shape, layers: pool.model.layers, itemEmbedding: pool.model.itemEmbedding)
      try pool.checkWhole()
      encoder = made
      return made
    }
  }

  /// The tensors and the shape of a layer, its blob's checksums verified. Whoever reads from the tensors calls
  /// `pool.checkWhole()` after that: the file may be cut short at any time.
  func layer(_ number: Int) throws(StoreError) -> (LayerShape, LayerTensors, LayerSettings) {
    guard model.shape.layers.indices.contains(number) else {
      throw .invalidInput("layer \(number) does not exist: the model has \(model.shape.layers.count)")
    }
    try pool.verify(layer: number)
    return (model.shape.layers[number], pool.model.layers[number], pool.model.settings[number])
  }
}

/// SQLite's version, as the library that is loaded says it.
public var sqliteVersion: String { RowStorage.sqliteVersion }
