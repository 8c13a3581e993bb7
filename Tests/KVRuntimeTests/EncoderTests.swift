import CKernels
import CacheTypes
import KVRuntime
import Testing

/// A model of random layers, and its encoder.
struct RandomModel {
  let layers: [RandomLayer]
  let shape: ModelShape
  let encoder: Encoder
  let itemEmbedding: [Float]

  init(
    _ draw: inout Draw, embeddingWidth: Int = 8, items: Int = 0, itemElement: ElementType = .f32, _ plans: [LayerPlan]
  ) {
    layers = plans.map { RandomLayer(&draw, embeddingWidth: embeddingWidth, $0) }
    shape = ModelShape(embeddingWidth: embeddingWidth, layers: layers.map(\.shape))
    let numbers = draw.numbers(items * embeddingWidth)
    itemEmbedding = numbers.map { itemElement.rounded($0) }
    encoder = Encoder(
      shape: shape, layers: layers.map(\.tensors),
      itemEmbedding: items == 0 ? nil : Tensor.of(numbers, [items, embeddingWidth], itemElement))
  }

  /// Projections and scores of one row, in 64 bits.
  func outputs(_ weight: Tensor?, _ bias: Tensor?, _ row: ArraySlice<Float>) -> [Double] {
    guard let weight, let bias else { return [] }
    let (weights, biases) = (weight.floats(), bias.floats())
    return biases.enumerated().map { output, bias in
      row.enumerated().reduce(Double(bias)) { sum, input in
        sum + Double(input.element) * Double(weights[output * row.count + input.offset])
      }
    }
  }
}

func error(_ body: () throws -> Void) -> StoreError? {
  do { try body() } catch { return error as? StoreError }
  return nil
}

func message(_ body: () throws -> Void) -> String {
  guard case .invalidInput(let text) = error(body) else { return "no invalidInput" }
  return text
}

@Suite struct `The encoder` {
  static let plans = [
    LayerPlan(userWidths: (2, 3), sharesRouter: false, isDyadic: true),
    LayerPlan(userWidths: (0, 4), sharesRouter: true, isDyadic: true),
    LayerPlan(userWidths: (5, 0), sharesRouter: false, isDyadic: true),
    LayerPlan(userWidths: (3, 0), isKeyOnly: true, isDyadic: true),
    LayerPlan(userWidths: (17, 20), sharesRouter: false, isDyadic: true),
  ]

  @Test(arguments: 0..<12)
  func `exact numbers give the defined entries, ties the lowest row`(_ seed: Int) throws {
    var draw = Draw(seed)
    let model = RandomModel(&draw, embeddingWidth: [1, 4, 8, 19][seed % 4], Self.plans)
    let count = [1, 2, 14, 61][seed / 3 % 4]
    let width = model.shape.embeddingWidth
    let embeddings = draw.dyadic(count * width * Self.plans.count)
    let entries = try model.encoder.encode(embeddings: embeddings, count: count, isPerLayer: true, items: nil)
    #expect(entries.count == count && entries.layers.count == Self.plans.count && entries.items == nil)
    try entries.validate(against: model.shape, element: .f32)
    for (number, layer) in model.layers.enumerated() {
      for row in 0..<count {
        let start = (row * Self.plans.count + number) * width
        let input = embeddings[start..<start + width]
        let key = layer.tensors.key
        let scores = model.outputs(key.routerWeight, key.routerBias, input)
        #expect(Int(entries.layers[number].keyIndices[row]) == scores.firstIndex(of: scores.max()!))
        let user = model.outputs(key.projectionWeight, key.projectionBias, input)
        #expect(user == user.indices.map { Double(entries.layers[number].keyUser[$0 * count + row]) })
        guard let value = layer.tensors.value else { continue }
        if layer.shape.storesValueIndices {
          let scores = model.outputs(value.routerWeight, value.routerBias, input)
          #expect(Int(entries.layers[number].valueIndices[row]) == scores.firstIndex(of: scores.max()!))
        }
        let valueUser = model.outputs(value.projectionWeight, value.projectionBias, input)
        #expect(valueUser == valueUser.indices.map { Double(entries.layers[number].valueUser[$0 * count + row]) })
      }
    }
  }

  @Test func `one embedding feeds every layer as the same embedding per layer does`() throws {
    var draw = Draw(1)
    let model = RandomModel(&draw, Self.plans)
    let rows = (0..<7).map { _ in draw.numbers(8) }
    let once = try model.encoder.encode(embeddings: rows.flatMap { $0 }, count: 7, isPerLayer: false, items: nil)
    let repeated = rows.flatMap { row in (0..<Self.plans.count).flatMap { _ in row } }
    #expect(try model.encoder.encode(embeddings: repeated, count: 7, isPerLayer: true, items: nil) == once)
  }

  @Test(arguments: [ElementType.f32, .f16, .bf16])
  func `items are encoded as their embeddings are`(_ element: ElementType) throws {
    var draw = Draw(2)
    let model = RandomModel(
      &draw, items: 31, itemElement: element, Self.plans + [LayerPlan(isInterned: true, poolRows: 31)])
    let items = (0..<2500).map { _ in Int64.random(in: 0..<31, using: &draw) }
    let embeddings = items.flatMap { model.itemEmbedding[Int($0) * 8..<Int($0) * 8 + 8] }
    let entries = try model.encoder.encode(items: items)
    #expect(try model.encoder.encode(embeddings: embeddings, count: 2500, isPerLayer: false, items: items) == entries)
    #expect(entries.items == items)
    #expect(entries.layers[5].keyIndices == items.map { UInt32($0) })
  }

  @Test func `a model without embeddings encodes items alone`() throws {
    var draw = Draw(3)
    let plan = LayerPlan(userWidths: (0, 0), isInterned: true, sharesRouter: true, poolRows: 5)
    let model = RandomModel(&draw, embeddingWidth: 0, [plan])
    #expect(try model.encoder.encode(items: [4, 0, 4]).layers[0] == LayerEntries(keyIndices: [4, 0, 4]))
    #expect(
      try model.encoder.encode(embeddings: [], count: 1, isPerLayer: true, items: [2]).layers[0].keyIndices == [2])
  }

  @Test func `no rows give no entries`() throws {
    var draw = Draw(4)
    let model = RandomModel(&draw, items: 3, Self.plans)
    let empty = Entries(count: 0, layers: model.shape.layers.map { LayerEntries(zeroed: $0, count: 0) }, items: nil)
    #expect(try model.encoder.encode(embeddings: [], count: 0, isPerLayer: true, items: nil) == empty)
    #expect(try model.encoder.encode(items: []).layers == empty.layers)
  }
}

/// These force a level for the whole process: no two at once. Other suites do not mind, since results are the same
/// bits.
@Suite(.serialized) struct `Encoder at every level` {
  @Test(arguments: 0..<6)
  func `a history encoded at once, in pieces or one by one is the same bits at every level`(_ seed: Int) throws {
    var draw = Draw(seed)
    let plans = [
      LayerPlan(userWidths: (2, 2), sharesRouter: false), LayerPlan(userWidths: (7, 0), sharesRouter: true),
    ]
    let model = RandomModel(&draw, embeddingWidth: [8, 33][seed % 2], plans)
    let width = model.shape.embeddingWidth
    let count = 131
    let embeddings = draw.numbers(count * width)
    var results: [Entries] = []
    for level in Level.all {
      #expect(ckv_kernels_force(level.number))
      results.append(try model.encoder.encode(embeddings: embeddings, count: count, isPerLayer: false, items: nil))
      for longest in [1, 20] {
        var first = 0
        while first < count {
          let length = min(Int.random(in: 1...longest, using: &draw), count - first)
          let piece = try model.encoder.encode(
            embeddings: Array(embeddings[first * width..<(first + length) * width]), count: length, isPerLayer: false,
            items: nil)
          for (layer, entries) in piece.layers.enumerated() {
            let whole = results[0].layers[layer]
            #expect(entries.keyIndices == Array(whole.keyIndices[first..<first + length]))
            #expect(entries.valueIndices == Array(whole.valueIndices.dropFirst(first).prefix(length)))
            for (columns, wholeColumns) in [(entries.keyUser, whole.keyUser), (entries.valueUser, whole.valueUser)] {
              for dimension in 0..<columns.count / length {
                let start = dimension * count + first
                let column = Array(columns[dimension * length..<(dimension + 1) * length])
                #expect(bits(column) == bits(Array(wholeColumns[start..<start + length])))
              }
            }
          }
          first += length
        }
      }
    }
    _ = ckv_kernels_force(-1)
    #expect(results.allSatisfy { $0 == results[0] })
  }
}

@Suite struct `What the encoder refuses` {
  static func model() -> RandomModel {
    var draw = Draw(9)
    return RandomModel(
      &draw, embeddingWidth: 3, items: 7,
      [LayerPlan(userWidths: (1, 1), isInterned: true, poolRows: 5), LayerPlan(userWidths: (1, 1))])
  }

  @Test func `a wrong count of embedding numbers`() {
    let encoder = Self.model().encoder
    for (count, numbers, isPerLayer) in [(2, 11, true), (2, 13, true), (2, 12, false), (0, 1, true), (-1, 0, true)] {
      let text = message {
        _ = try encoder.encode(
          embeddings: [Float](repeating: 0, count: numbers), count: count, isPerLayer: isPerLayer, items: [0, 0])
      }
      #expect(text == "\(numbers) embedding numbers for \(count) rows of \(isPerLayer ? 6 : 3)")
    }
    #expect(
      message { _ = try encoder.encode(embeddings: [], count: .max, isPerLayer: true, items: []) }.contains(
        "0 embedding"))
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `an embedding that is not finite, naming the row`(_ bad: Float) {
    var embeddings = [Float](repeating: 0, count: 12)
    embeddings[10] = bad
    let text = message {
      _ = try Self.model().encoder.encode(embeddings: embeddings, count: 2, isPerLayer: true, items: [0, 0])
    }
    #expect(text == "embedding of layer 1 at row 1 holds \(bad) at 1")
  }

  @Test func `items that are missing, too few or out of range`() {
    let encoder = Self.model().encoder
    func text(_ items: [Int64]?) -> String {
      message {
        _ = try encoder.encode(
          embeddings: [Float](repeating: 0, count: 6), count: 2, isPerLayer: false, items: items)
      }
    }
    #expect(text(nil) == "layer 0 is interned: every row needs an item")
    #expect(text([1]) == "1 items for 2 rows")
    #expect(text([1, 5]) == "item 5 at row 1: the pool of layer 0 has 5 rows")
    #expect(text([-1, 0]) == "item -1 at row 0: the pool of layer 0 has 5 rows")
    #expect(
      message { _ = try encoder.encode(items: [0, .max]) }
        == "item \(Int64.max) at row 1: the pool of layer 0 has 5 rows")
  }

  @Test func `items beyond the embeddings, or without embeddings`() {
    var draw = Draw(1)
    let model = RandomModel(&draw, items: 7, [LayerPlan(userWidths: (1, 1))])
    #expect(message { _ = try model.encoder.encode(items: [6, 7]) } == "item 7 at row 1: items.embedding has 7 rows")
    let bare = RandomModel(&draw, [LayerPlan(userWidths: (1, 1))])
    #expect(message { _ = try bare.encoder.encode(items: [0]) }.contains("no items.embedding"))
  }

  @Test func `rows beyond the numbers of one layer's call`() {
    let encoder = Self.model().encoder
    let numbers = [Float](repeating: 0, count: 12)
    func text(_ stride: Int, _ offset: Int, _ count: Int, layer: Int = 1) -> String {
      numbers.withUnsafeBufferPointer { numbers in
        message {
          _ = try encoder.encode(
            layer: layer, embeddings: numbers, rowStride: stride, offset: offset, count: count, items: nil)
        }
      }
    }
    #expect(text(6, 3, 2) == "no invalidInput")
    #expect(text(6, 4, 2).contains("12 embedding numbers for 2 rows of 3"))
    #expect(text(.max, 0, 3).contains("12 embedding numbers"))
    #expect(text(6, .max, 1).contains("12 embedding numbers"))
    #expect(text(6, 0, -1).contains("-1 rows"))
    #expect(text(6, 0, 2, layer: 2) == "layer 2, the model has 2")
  }
}
