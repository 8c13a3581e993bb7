/// Turns a parsed safetensors file into a Model, or says which rule of a model file it breaks. It relies on
/// SafetensorsFile for ranges and types and on ModelMetadata for settings; it reads no number of a tensor except to see
/// whether all are finite.

internal import CacheTypes

/// Reads one model; used once.
struct ModelReader {
  let file: SafetensorsFile
  private let layerCount: Int
  private let metadata: ModelMetadata
  /// d_e, and the tensor that said so first.
  private var embeddingWidth: (width: Int, source: String)?

  /// The names of a part's tensors, and of a layer's others, behind `layers.<l>.`.
  static let partNames = [
    "pool", "basis", "projection.weight", "projection.bias", "router.weight", "router.bias",
  ]
  static let layerNames =
    partNames.map { "key." + $0 } + partNames.map { "value." + $0 } + ["rotations.simhash", "rotations.sdim"]
  static let itemEmbeddingName = "items.embedding"

  init(_ file: SafetensorsFile) throws(StoreError) {
    self.file = file
    layerCount = try Self.layerCount(file)
    metadata = try ModelMetadata(file, layerCount: layerCount)
  }

  mutating func read(digest: [UInt8], checksNumbers: Bool) throws(StoreError) -> Model {
    var shapes: [LayerShape] = []
    var layers: [LayerTensors] = []
    var rotations: [LayerRotations] = []
    for layer in 0..<layerCount {
      let (tensors, shape) = try readLayer(layer)
      layers.append(tensors)
      shapes.append(shape)
      rotations.append(try readRotations(layer, keyWidth: shape.key.width))
    }
    let items = try readItemEmbedding()
    if metadata.takesItems && items == nil {
      throw file.failure("ckvdb.input is \"item\", but there is no \(Self.itemEmbeddingName)")
    }
    if checksNumbers { try checkNumbers() }
    return Model(
      digest: digest, shape: ModelShape(embeddingWidth: embeddingWidth?.width ?? 0, layers: shapes),
      layers: layers, rotations: rotations, settings: metadata.settings, itemEmbedding: items,
      takesItems: metadata.takesItems)
  }

  /// The tensors that the engine names, in the order of a blob: layer by layer, `items.embedding` last.
  func namedTensors() -> [TensorInfo] {
    var named: [TensorInfo] = []
    for layer in 0..<layerCount {
      named += Self.layerNames.compactMap { file.info("layers.\(layer).\($0)") }
    }
    if let items = file.info(Self.itemEmbeddingName) { named.append(items) }
    return named
  }

  /// The metadata that the engine names.
  var namedMetadata: [String: String] { file.metadata.filter { $0.key.hasPrefix(ModelMetadata.prefix) } }

  // MARK: Layers

  /// Counts the layers that have a tensor of ours, and refuses numbers with a gap or a second spelling.
  private static func layerCount(_ file: SafetensorsFile) throws(StoreError) -> Int {
    var layers: Set<Int> = []
    for tensor in file.tensors {
      let parts = tensor.name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, parts[0] == "layers", layerNames.contains(String(parts[2])) else { continue }
      guard let layer = Int(parts[1]), layer >= 0, String(layer).utf8.elementsEqual(parts[1].utf8) else {
        throw file.failure("tensor \(tensor.name.debugDescription): \(parts[1].debugDescription) is no layer number")
      }
      guard layer < ModelLimits.layerCount else {
        throw file.failure(
          "tensor \(tensor.name.debugDescription): layer \(layer), the limit is \(ModelLimits.layerCount) layers")
      }
      layers.insert(layer)
    }
    guard !layers.isEmpty else { throw file.failure("no tensor layers.0.key.pool: this is no model") }
    for layer in 0..<layers.count where !layers.contains(layer) {
      throw file.failure("layers are numbered from 0 without a gap, but there is no layer \(layer)")
    }
    return layers.count
  }

  private mutating func readLayer(_ layer: Int) throws(StoreError) -> (LayerTensors, LayerShape) {
    guard let (key, keyShape) = try readPart("layers.\(layer).key") else {
      throw file.failure("tensor layers.\(layer).key.pool is missing")
    }
    let value = try readPart("layers.\(layer).value")
    if let (_, valueShape) = value, !valueShape.hasRouter, valueShape.poolRows != keyShape.poolRows {
      throw file.failure(
        "tensor layers.\(layer).value.pool has \(valueShape.poolRows) rows; a value without a router uses the key's "
          + "index, and layers.\(layer).key.pool has \(keyShape.poolRows)")
    }
    let heads = metadata.heads[layer]
    for (name, width) in [("d_k", keyShape.width), ("d_v", value?.1.width ?? heads)]
    where !width.isMultiple(of: heads) {
      throw file.failure("layer \(layer): \(heads) heads do not divide \(name) = \(width)")
    }
    return (
      LayerTensors(key: key, value: value?.0), LayerShape(key: keyShape, value: value?.1, heads: heads)
    )
  }

  /// The key or value side; `nil` if it has no tensor at all.
  private mutating func readPart(_ name: String) throws(StoreError) -> (PartTensors, PartShape)? {
    guard let pool = try matrix(name + ".pool", rowLimit: ModelLimits.rowCount) else {
      if let other = Self.partNames.first(where: { file.info("\(name).\($0)") != nil }) {
        throw file.failure("tensor \(name).\(other) is there, but \(name).pool is missing")
      }
      return nil
    }
    let (poolRows, poolWidth) = (pool.shape[0], pool.shape[1])
    try require(poolRows >= 1, "\(name).pool", pool.shape, "[m, d_g] with m >= 1")
    let (projectionWeight, projectionBias) = try readLinear(name + ".projection", rowLimit: ModelLimits.width)
    let (routerWeight, routerBias) = try readLinear(name + ".router", rowLimit: ModelLimits.rowCount)
    let userWidth = projectionWeight?.shape[0] ?? 0
    if let routerWeight {
      try require(
        routerWeight.shape[0] == poolRows, "\(name).router.weight", routerWeight.shape, "\(poolRows) rows, as the pool")
    }
    let basis = try matrix(name + ".basis", rowLimit: ModelLimits.width)
    if let basis {
      guard projectionWeight != nil else {
        throw file.failure("tensor \(name).basis is there, but \(name).projection.weight is missing")
      }
      try require(
        basis.shape == [poolWidth, userWidth], "\(name).basis", basis.shape, "[d_g, d_u] = [\(poolWidth), \(userWidth)]"
      )
    }
    let shape = PartShape(
      userWidth: userWidth, poolWidth: poolWidth, poolRows: poolRows, isAdditive: basis != nil,
      hasRouter: routerWeight != nil)
    guard (1...ModelLimits.width).contains(shape.width) else {
      throw file.failure("\(name) is \(shape.width) numbers wide, expected 1 to \(ModelLimits.width)")
    }
    let tensors = PartTensors(
      projectionWeight: projectionWeight, projectionBias: projectionBias, routerWeight: routerWeight,
      routerBias: routerBias, pool: pool, basis: basis)
    return (tensors, shape)
  }

  /// A weight `[rows, d_e]` and its bias `[rows]`: both or neither.
  private mutating func readLinear(_ name: String, rowLimit: Int) throws(StoreError) -> (Tensor?, Tensor?) {
    let weight = try matrix(name + ".weight", rowLimit: rowLimit)
    let bias = try file.tensor(name + ".bias")
    guard let weight else {
      if bias != nil { throw file.failure("tensor \(name).bias is there, but \(name).weight is missing") }
      return (nil, nil)
    }
    guard let bias else {
      throw file.failure("tensor \(name).weight is there, but \(name).bias is missing (a layer without one has zeros)")
    }
    let rows = weight.shape[0]
    try require(rows >= 1, "\(name).weight", weight.shape, "at least one row (left out altogether if there is nothing)")
    try require(bias.shape == [rows], "\(name).bias", bias.shape, "[\(rows)], as \(name).weight has rows")
    try agree(onEmbeddingWidth: weight.shape[1], "\(name).weight")
    return (weight, bias)
  }

  private func readRotations(_ layer: Int, keyWidth: Int) throws(StoreError) -> LayerRotations {
    var rotations = LayerRotations()
    for (kind, rank, wanted) in [("simhash", 2, "[b, \(keyWidth)]"), ("sdim", 3, "[G, t, \(keyWidth)]")] {
      let name = "layers.\(layer).rotations.\(kind)"
      guard let tensor = try file.tensor(name) else { continue }
      let isGood =
        tensor.shape.count == rank && tensor.shape.last == keyWidth
        && tensor.shape.allSatisfy { (1...ModelLimits.width).contains($0) }
      try require(isGood, name, tensor.shape, "\(wanted) with lengths of 1 to \(ModelLimits.width)")
      if rank == 2 { rotations.simhash = tensor } else { rotations.sdim = tensor }
    }
    return rotations
  }

  private mutating func readItemEmbedding() throws(StoreError) -> Tensor? {
    let name = Self.itemEmbeddingName
    guard let tensor = try matrix(name, rowLimit: ModelLimits.rowCount) else { return nil }
    try require(tensor.shape[0] >= 1, name, tensor.shape, "[items, d_e] with at least one item")
    try agree(onEmbeddingWidth: tensor.shape[1], name)
    return tensor
  }

  // MARK: Rules

  private func matrix(_ name: String, rowLimit: Int) throws(StoreError) -> Tensor? {
    guard let tensor = try file.tensor(name) else { return nil }
    try require(tensor.shape.count == 2, name, tensor.shape, "two dimensions")
    try require(tensor.shape[0] <= rowLimit, name, tensor.shape, "at most \(rowLimit) rows")
    try require(tensor.shape[1] <= ModelLimits.width, name, tensor.shape, "at most \(ModelLimits.width) columns")
    return tensor
  }

  private mutating func agree(onEmbeddingWidth width: Int, _ name: String) throws(StoreError) {
    guard width >= 1 else { throw file.failure("tensor \(name) takes embeddings of width 0") }
    guard let known = embeddingWidth else {
      embeddingWidth = (width, name)
      return
    }
    guard known.width == width else {
      throw file.failure("tensor \(name) takes embeddings of width \(width), \(known.source) of width \(known.width)")
    }
  }

  private func require(_ holds: Bool, _ name: String, _ shape: [Int], _ expected: String) throws(StoreError) {
    guard holds else { throw file.failure("tensor \(name) has shape \(shape), expected \(expected)") }
  }

  /// Every number of every tensor that the engine reads must be finite: one infinity would spread over every score.
  private func checkNumbers() throws(StoreError) {
    for info in namedTensors() {
      guard let tensor = try file.tensor(info.name), let index = FiniteScan.firstOffender(tensor) else { continue }
      throw file.failure("tensor \(info.name) at index \(index) holds an infinity or a NaN")
    }
  }
}
