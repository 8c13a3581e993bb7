/// Models of every kind, drawn from a seed and written as model files. Their numbers are multiples of 1/64 (a basis' of
/// 1/4), so that 32-bit sums are exact, whatever their order, and every pool's element type holds them.

import CollectiveKV
import PoolStorage

struct TestModel: Sendable {
  struct TensorNumbers: Sendable {
    var shape: [Int]
    var numbers: [Float]
  }

  var shape: ModelShape
  /// By name, as in the file.
  var tensors: [String: TensorNumbers] = [:]
  var metadata: [String: String] = ["ckvdb.format": "1"]
  var poolElement: ElementType

  /// - Parameter itemCount: rows of `items.embedding`, which then feeds every layer.
  init(_ shape: ModelShape, poolElement: ElementType = .f32, itemCount: Int? = nil, seed: Int = 1) {
    self.shape = shape
    self.poolElement = poolElement
    var random = SeededRandom(seed)
    for (number, layer) in shape.layers.enumerated() {
      metadata["ckvdb.heads.\(number)"] = String(layer.heads)
      addPart("layers.\(number).key", layer.key, &random)
      if let value = layer.value { addPart("layers.\(number).value", value, &random) }
    }
    if let itemCount {
      metadata["ckvdb.input"] = "item"
      add("items.embedding", [itemCount, shape.embeddingWidth], &random)
    }
  }

  private mutating func addPart(_ name: String, _ part: PartShape, _ random: inout SeededRandom) {
    let width = shape.embeddingWidth
    add(name + ".pool", [part.poolRows, part.poolWidth], &random)
    if part.userWidth > 0 {
      add(name + ".projection.weight", [part.userWidth, width], &random)
      add(name + ".projection.bias", [part.userWidth], &random)
    }
    if part.hasRouter {
      add(name + ".router.weight", [part.poolRows, width], &random)
      add(name + ".router.bias", [part.poolRows], &random)
    }
    if part.isAdditive { add(name + ".basis", [part.poolWidth, part.userWidth], &random, bound: 1, steps: 4) }
  }

  private mutating func add(
    _ name: String, _ shape: [Int], _ random: inout SeededRandom, bound: Int = 2, steps: Int = 64
  ) {
    tensors[name] = TensorNumbers(
      shape: shape, numbers: random.numbers(shape.reduce(1, *), bound: bound, steps: steps))
  }

  /// Writes the model file.
  func write(to path: String) throws {
    let names = tensors.keys.sorted()
    let plans = names.map { name in
      TensorPlan(name: name, dtype: TensorDType(poolElement) ?? .f32, shape: tensors[name]!.shape)
    }
    var writer = try SafetensorsWriter(path: path, tensors: plans, metadata: metadata)
    for name in names { try writer.append(tensors[name]!.numbers) }
    try writer.finish()
  }
}

extension TestModel: CustomStringConvertible {
  /// A few words: a failing test prints its arguments.
  var description: String {
    let layers = shape.layers.map { layer in
      [layer.key, layer.value].compactMap { $0 }.map { part in
        "\(part.userWidth)\(part.isAdditive ? "*" : "+")\(part.poolWidth)x\(part.poolRows)\(part.hasRouter ? "" : "i")"
      }.joined(separator: " ")
    }
    return "[\(layers.joined(separator: ", "))]"
  }
}

// MARK: - Kinds

extension TestModel {
  static func part(
    _ userWidth: Int, _ poolWidth: Int, _ poolRows: Int, isAdditive: Bool = false, hasRouter: Bool = true
  ) -> PartShape {
    PartShape(
      userWidth: userWidth, poolWidth: poolWidth, poolRows: poolRows, isAdditive: isAdditive, hasRouter: hasRouter)
  }

  /// One layer in the concatenated form, keys and values of different shapes, two heads.
  static let plainLayer = LayerShape(key: part(2, 6, 16), value: part(3, 5, 9), heads: 2)
  /// Pool row plus a mapped user part on both sides.
  static let additiveLayer = LayerShape(
    key: part(2, 6, 12, isAdditive: true), value: part(1, 8, 7, isAdditive: true), heads: 2)
  /// Values use the keys' pool indices; no user part at the key.
  static let sharedLayer = LayerShape(key: part(0, 8, 11), value: part(2, 6, 11, hasRouter: false), heads: 4)
  /// The key's index is the item's id, and nothing is the user's own.
  static let internedLayer = LayerShape(
    key: part(0, 4, 50, hasRouter: false), value: part(0, 6, 50, hasRouter: false), heads: 1)
  /// Search keys.
  static let keyOnlyLayer = LayerShape(key: part(3, 5, 40), value: nil, heads: 1)

  static func shape(_ layers: [LayerShape], embeddingWidth: Int = 6) -> ModelShape {
    ModelShape(embeddingWidth: embeddingWidth, layers: layers)
  }

  static let plain = TestModel(shape([plainLayer]))
  static let interned = TestModel(shape([internedLayer], embeddingWidth: 0))
  static let keyOnly = TestModel(shape([keyOnlyLayer]))
  /// A layer of every kind.
  static let mixed = TestModel(shape([plainLayer, additiveLayer, sharedLayer, internedLayer, keyOnlyLayer]))
  /// Brings the embeddings of 50 items.
  static let items = TestModel(shape([plainLayer, additiveLayer]), itemCount: 50)

  /// A model of one to three layers of any shape, its pools in any element type.
  static func random(seed: Int) -> TestModel {
    var random = SeededRandom(seed &* 7_919)
    let layers = (0..<1 + random.below(3)).map { _ in randomLayer(&random) }
    let brings = random.chance(30)
    return TestModel(
      shape(layers, embeddingWidth: 1 + random.below(8)),
      poolElement: [ElementType.f32, .f16, .bf16][random.below(3)], itemCount: brings ? 50 : nil, seed: seed)
  }

  private static func randomLayer(_ random: inout SeededRandom) -> LayerShape {
    let heads = [1, 2, 4][random.below(3)]
    let isInterned = random.chance(20)
    func side(_ rows: Int, hasRouter: Bool) -> PartShape {
      let isAdditive = random.chance(30)
      let userWidth = isAdditive ? 1 + random.below(3) : random.below(4)
      // Heads split the whole width, and some of it is the pool's.
      let least = (isAdditive ? 0 : userWidth) / heads + 1
      let width = heads * (least + random.below(4))
      return part(userWidth, isAdditive ? width : width - userWidth, rows, isAdditive: isAdditive, hasRouter: hasRouter)
    }
    let rows = isInterned ? 50 : [1, 2, 9, 64][random.below(4)]
    let key = side(rows, hasRouter: !isInterned)
    if random.chance(15) { return LayerShape(key: key, value: nil, heads: heads) }
    let isShared = random.chance(30)
    return LayerShape(
      key: key, value: side(isShared ? rows : [1, 3, 32][random.below(3)], hasRouter: !isShared), heads: heads)
  }
}
