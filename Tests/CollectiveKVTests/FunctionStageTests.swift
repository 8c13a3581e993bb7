/// Every attention function in a stage: new positions see what they would see had they been stored.

import CollectiveKV
import Testing

struct FunctionStageTests {
  private static let model = TestModel(
    TestModel.shape([TestModel.plainLayer, TestModel.additiveLayer, TestModel.keyOnlyLayer]))
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func store(_ element: ElementType, named name: String) throws -> CacheStore {
    try directory.makeStore(
      Self.model, .init(element: element, pageByteCount: 4_096, durability: .normal), named: name)
  }

  /// Encodes every layer of a stage from the same embeddings.
  private func encode(_ stage: Stage, _ embeddings: [Float]) throws {
    for layer in 0..<3 { try stage.encode(layer: layer, embeddings) }
  }

  @Test(arguments: 1...4, [ElementType.f32, .f16])
  func `causal positions of a stage see what they see once they are stored`(seed: Int, element: ElementType) throws {
    var random = SeededRandom(seed)
    let store = try store(element, named: "s")
    let every = EveryFunction(width: 8, bias: 100, &random)
    let (length, count) = ([0, 1, 50][seed % 3], 1 + random.below(12))
    if length > 0 {
      let prefill = try store.stage([1], counts: [length])
      try encode(prefill, random.numbers(length * 6))
      try prefill.commit()
    }
    let stage = try store.stage([1], counts: [count])
    let embeddings = random.numbers(count * 6)
    try encode(stage, embeddings)
    let (queries, searches) = (random.numbers(count * 8), random.numbers(count * 8))
    let functions = [nil, 2].flatMap { every.all(top: 1 + random.below(9), searching: $0, window: seed == 2 ? 7 : nil) }
    let staged = try functions.map { try stage.attend(layer: 0, queries, $0, selectQueries: searches) }
    try stage.commit()
    for (attention, output) in zip(functions, staged) {
      let stored = try store.attend(
        queries, user: 1, attention, positions: (0..<count).map { length + $0 + 1 }, selectQueries: searches)
      expectSame(difference(output, stored), "seed \(seed), \(attention.kind)")
    }
  }

  @Test(arguments: 1...4, [ElementType.f32, .f16])
  func `a candidate sees what it would see had it alone been appended`(seed: Int, element: ElementType) throws {
    var random = SeededRandom(seed)
    let every = EveryFunction(width: 8, bias: 100, &random)
    let length = [0, 1, 50][seed % 3]
    let history = random.numbers(length * 6)
    let candidates = random.numbers(4 * 6)
    let (queries, searches) = (random.numbers(4 * 8), random.numbers(4 * 8))
    func stored(_ name: String, _ inputs: [Float]) throws -> CacheStore {
      let store = try store(element, named: name)
      if !inputs.isEmpty {
        let prefill = try store.stage([1], counts: [inputs.count / 6])
        try encode(prefill, inputs)
        try prefill.commit()
      }
      return store
    }
    let stage = try stored("history", history).stage([1], counts: [4])
    try encode(stage, candidates)
    let alone = try (0..<4).map { try stored("alone-\($0)", history + candidates[$0 * 6..<($0 + 1) * 6]) }
    for attention in [nil, 2].flatMap({ every.all(top: 3, searching: $0, window: seed == 2 ? 7 : nil) }) {
      let output = try stage.attend(
        layer: 0, queries, mask: .historyAndSelf, attention, selectQueries: searches)
      for (candidate, store) in alone.enumerated() {
        let row = candidate * 8..<(candidate + 1) * 8
        let expected = try store.attend(Array(queries[row]), user: 1, attention, selectQueries: Array(searches[row]))
        expectSame(difference(Array(output[row]), expected), "seed \(seed), \(attention.kind), \(candidate)")
      }
    }
  }

  @Test func `users of a stage do not see one another, whatever the function`() throws {
    var random = SeededRandom(6)
    let store = try store(.f32, named: "s")
    let every = EveryFunction(width: 8, bias: 100, &random)
    let counts = [3, 0, 5]
    let together = try store.stage([1, 2, 3], counts: counts)
    let embeddings = random.numbers(8 * 6)
    try encode(together, embeddings)
    let (queries, searches) = (random.numbers(8 * 8), random.numbers(8 * 8))
    for attention in every.all(top: 2, searching: 2) {
      var outputs: [Float] = []
      var first = 0
      for (user, count) in zip([UserID(1), 2, 3], counts) {
        let stage = try store.stage([user], counts: [count])
        try encode(stage, Array(embeddings[first * 6..<(first + count) * 6]))
        let own = first * 8..<(first + count) * 8
        outputs += try stage.attend(layer: 0, Array(queries[own]), attention, selectQueries: Array(searches[own]))
        first += count
      }
      expectSame(
        difference(try together.attend(layer: 0, queries, attention, selectQueries: searches), outputs),
        "\(attention.kind)")
    }
  }

  @Test func `a search needs its layer and its queries`() throws {
    let store = try store(.f32, named: "s")
    let stage = try store.stage([1], counts: [2])
    try stage.encode(layer: 0, Array(repeating: 1, count: 12))
    let queries = [Float](repeating: 1, count: 16)
    func refusal(_ searches: [Float]?) -> String {
      reason(
        thrown { () throws(StoreError) in
          _ = try stage.attend(layer: 0, queries, .select(top: 1, layer: 2), selectQueries: searches)
        })
    }
    #expect(refusal(queries) == "layer 2 is not encoded yet")
    try stage.encode(layer: 2, Array(repeating: 1, count: 12))
    #expect(refusal(nil) == "select needs search queries")
    #expect(refusal(Array(queries.dropLast())) == "layer 2: 15 numbers for 2 queries of 8")
    #expect(refusal(queries) == reason(nil))
  }
}
