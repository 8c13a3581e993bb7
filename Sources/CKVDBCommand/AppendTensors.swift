/// Appends from a safetensors file. The whole file is checked against the model, and stated positions against the
/// store, before anything is written; then it goes in, batch by batch, in the order of its rows.

internal import CacheTypes
internal import CollectiveKV
internal import PoolStorage

struct TensorAppend {
  private enum Source {
    case embeddings(TensorRows)
    case sharedEmbeddings(TensorRows)
    case itemEmbeddings
    case entries([LayerColumns])
    /// A model that encodes nothing: the items are all there is.
    case nothing
  }

  /// The encoded entries of one layer.
  private struct LayerColumns {
    var keyIndices: [Int64]
    var valueIndices: [Int64]?
    var keyUser: TensorRows?
    var valueUser: TensorRows?
  }

  let rowCount: Int
  private let file: SafetensorsFile
  private let users: UserColumn
  private let source: Source
  private let positions: [Int64]?
  private let items: [Int64]?
  private let timestamps: [Int64]?
  private let keepsItems: Bool

  init(path: String, for store: CacheStore) throws(StoreError) {
    let shape = store.model.shape
    file = try SafetensorsFile(path: path, followsLinks: true)
    users = try UserColumn(file)
    rowCount = users.count
    positions = try file.column("position", rows: rowCount)
    keepsItems = store.keepsItems
    let givenItems = try file.column("item", rows: rowCount)
    source = try Self.source(file, rowCount, store.model, hasItems: givenItems != nil)
    if store.keepsTimestamps {
      timestamps = try Self.needed(file, "timestamp", rowCount, "the store keeps timestamps")
    } else {
      timestamps = nil
    }
    var needsItems = keepsItems
    switch source {
    case .embeddings, .sharedEmbeddings, .nothing: needsItems = needsItems || shape.needsItems
    case .itemEmbeddings: needsItems = true
    case .entries: break
    }
    if needsItems {
      let reason = keepsItems ? "the store keeps items" : "the model has layers whose keys are items"
      items = try Self.needed(file, "item", rowCount, reason)
      if !isEncoded { try checkItems(store.model) }
    } else {
      items = nil
    }
  }

  /// Whether the file says which positions its rows are.
  var statesPositions: Bool { positions != nil }

  private var isEncoded: Bool { if case .entries = source { true } else { false } }

  /// Bytes of one row's numbers, which bound how many rows go into a batch.
  private var rowByteCount: Int {
    switch source {
    case .embeddings(let rows), .sharedEmbeddings(let rows): rows.width * 4
    case .entries(let layers):
      layers.reduce(0) { $0 + 8 + (($1.keyUser?.width ?? 0) + ($1.valueUser?.width ?? 0)) * 4 }
    case .itemEmbeddings, .nothing: 8
    }
  }

  /// Rows per transaction if the caller does not say: few enough to hold in memory, many enough to hide the disk.
  var batchRowCount: Int { max(64, min(8_192, (32 << 20) / max(rowByteCount, 1))) }

  // MARK: Checks

  private static func needed(
    _ file: SafetensorsFile, _ name: String, _ rows: Int, _ reason: String
  ) throws(StoreError) -> [Int64] {
    guard let column = try file.column(name, rows: rows) else {
      throw file.failure("no tensor \(name.debugDescription): \(reason)")
    }
    return column
  }

  private static func source(
    _ file: SafetensorsFile, _ rows: Int, _ model: ModelDescription, hasItems: Bool
  ) throws(StoreError) -> Source {
    let (width, layerCount) = (model.shape.embeddingWidth, model.shape.layers.count)
    let isEncoded = file.tensors.contains { $0.name.hasPrefix("layers.") }
    guard let embedding = file.info("embedding") else {
      if isEncoded { return .entries(try layers(file, rows, model.shape)) }
      if model.itemCount != nil, hasItems { return .itemEmbeddings }
      if width == 0, hasItems { return .nothing }
      throw file.failure("no tensor \"embedding\", nor any \"layers.<l>.key.index\"")
    }
    guard !isEncoded else {
      throw file.failure("both \"embedding\" and encoded entries (\"layers...\") are there, expected one of them")
    }
    let isShared = embedding.shape.count == 2
    let shape = isShared ? [rows, width] : [rows, layerCount, width]
    guard embedding.shape == shape, let tensor = try file.rows("embedding", shape: shape) else {
      throw file.failure(
        "tensor \"embedding\" has shape \(embedding.shape), expected \([rows, width]) or \([rows, layerCount, width])")
    }
    return isShared ? .sharedEmbeddings(tensor) : .embeddings(tensor)
  }

  private static func layers(
    _ file: SafetensorsFile, _ rows: Int, _ shape: ModelShape
  ) throws(StoreError) -> [LayerColumns] {
    var layers: [LayerColumns] = []
    for (number, layer) in shape.layers.enumerated() {
      let name = "layers.\(number)"
      var columns = LayerColumns(keyIndices: try indices(file, "\(name).key.index", rows, layer.key))
      columns.keyUser = try userPart(file, "\(name).key.user", rows, layer.key)
      if let value = layer.value {
        if layer.storesValueIndices { columns.valueIndices = try indices(file, "\(name).value.index", rows, value) }
        columns.valueUser = try userPart(file, "\(name).value.user", rows, value)
      }
      for (kind, isStored) in [("index", layer.storesValueIndices), ("user", layer.value != nil)] where !isStored {
        guard file.info("\(name).value.\(kind)") == nil else {
          let reason = layer.value == nil ? "the layer has no values" : "the layer's values use the keys' indices"
          throw file.failure("tensor \"\(name).value.\(kind)\" is there, but \(reason)")
        }
      }
      layers.append(columns)
    }
    return layers
  }

  private static func indices(
    _ file: SafetensorsFile, _ name: String, _ rows: Int, _ part: PartShape
  ) throws(StoreError) -> [Int64] {
    let column = try needed(file, name, rows, "every layer of the model must be there")
    for (row, index) in column.enumerated() where index < 0 || index >= Int64(part.poolRows) {
      throw file.failure("\(name.debugDescription) at row \(row) is \(index), the pool has \(part.poolRows) rows")
    }
    return column
  }

  private static func userPart(
    _ file: SafetensorsFile, _ name: String, _ rows: Int, _ part: PartShape
  ) throws(StoreError) -> TensorRows? {
    let column = try file.rows(name, shape: [rows, part.userWidth])
    guard column != nil || part.userWidth == 0 else {
      throw file.failure("no tensor \(name.debugDescription), expected shape \([rows, part.userWidth])")
    }
    return column
  }

  /// Items must be rows of whatever table they choose from.
  private func checkItems(_ model: ModelDescription) throws(StoreError) {
    var limit = Int.max
    if case .itemEmbeddings = source, let count = model.itemCount { limit = count }
    for layer in model.shape.layers where layer.isInterned { limit = min(limit, layer.key.poolRows) }
    guard limit < .max else { return }
    for (row, item) in (items ?? []).enumerated() where item < 0 || item >= Int64(limit) {
      throw file.failure("\"item\" at row \(row) is \(item), the model has \(limit) items")
    }
  }

  /// Each user's stated positions must follow one another, and fit what the store has.
  func checkPositions(_ store: CacheStore, _ repeats: RepeatPolicy) throws(StoreError) {
    guard let positions else { return }
    var next: [UserID: Int64] = [:]
    for (row, position) in positions.enumerated() {
      let user = users[row]
      guard position >= 0, position < .max else {
        throw file.failure("\"position\" at row \(row) is \(position)")
      }
      if let expected = next[user] {
        guard position == expected else {
          throw file.failure("\"position\" at row \(row) is \(position), user \(user)'s next one is \(expected)")
        }
      } else {
        let length = try store.lengthOrZero(of: user)
        let fits = repeats == .skip ? position <= length : position == length
        guard fits else { throw .positionConflict(user: user, expected: Int(position), length: length) }
      }
      next[user] = position + 1
    }
  }

  // MARK: Batches

  /// The rows of a range, gathered by user; users in the order of their first row.
  ///
  /// - Throws: `StoreError.invalidInput` if the file was cut short since it was opened.
  func requests(_ range: Range<Int>) throws(StoreError) -> [(rows: [Int], request: AppendRequest)] {
    var places: [UserID: Int] = [:]
    var gathered: [(user: UserID, rows: [Int])] = []
    for row in range {
      let user = users[row]
      if let place = places[user] {
        gathered[place].rows.append(row)
      } else {
        places[user] = gathered.count
        gathered.append((user, [row]))
      }
    }
    let requests = gathered.map { ($0.rows, request($0.user, $0.rows)) }
    try file.checkWhole()
    return requests
  }

  private func request(_ user: UserID, _ rows: [Int]) -> AppendRequest {
    let rowItems = items.map { items in rows.map { items[$0] } }
    let rowTimestamps = timestamps.map { timestamps in rows.map { timestamps[$0] } }
    let source: AppendRequest.Source
    switch self.source {
    case .embeddings(let tensor): source = .embeddings(numbers(tensor, rows))
    case .sharedEmbeddings(let tensor): source = .sharedEmbeddings(numbers(tensor, rows))
    case .itemEmbeddings: source = .itemEmbeddings(rowItems ?? [])
    case .nothing: source = .sharedEmbeddings([])
    case .entries(let layers):
      source = .entries(
        Entries(
          count: rows.count, layers: layers.map { entries($0, rows) }, items: rowItems, timestamps: rowTimestamps))
    }
    return AppendRequest(
      user: user, source: source, items: rowItems, timestamps: rowTimestamps,
      expectedPosition: positions.map { Int($0[rows[0]]) })
  }

  private func numbers(_ tensor: TensorRows, _ rows: [Int]) -> [Float] {
    var numbers: [Float] = []
    numbers.reserveCapacity(rows.count * tensor.width)
    tensor.append(rows, to: &numbers)
    return numbers
  }

  private func entries(_ layer: LayerColumns, _ rows: [Int]) -> LayerEntries {
    LayerEntries(
      keyIndices: rows.map { UInt32(layer.keyIndices[$0]) },
      valueIndices: layer.valueIndices.map { indices in rows.map { UInt32(indices[$0]) } } ?? [],
      keyUser: layer.keyUser.map { byDimension($0, rows) } ?? [],
      valueUser: layer.valueUser.map { byDimension($0, rows) } ?? [])
  }

  /// Rows of `d_u` numbers, turned into `d_u` columns.
  private func byDimension(_ tensor: TensorRows, _ rows: [Int]) -> [Float] {
    let byRow = numbers(tensor, rows)
    return (0..<tensor.width).flatMap { dimension in
      rows.indices.map { byRow[$0 * tensor.width + dimension] }
    }
  }
}

extension CacheStore {
  /// The user's length; 0 for one that the store does not know.
  func lengthOrZero(of user: UserID) throws(StoreError) -> Int {
    do {
      return try length(of: user)
    } catch {
      if case .unknownUser = error { return 0 }
      throw error
    }
  }
}
