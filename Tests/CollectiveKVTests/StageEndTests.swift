/// How stages end, and what they refuse: nothing is written but by a commit, and by that everything or nothing.

import CollectiveKV
import Testing

struct StageEndTests {
  private let directory: TemporaryDirectory
  private let store: CacheStore
  private let width = CausalModel.model.shape.embeddingWidth
  /// Three positions.
  private let inputs: [Float]

  init() throws {
    directory = try TemporaryDirectory()
    store = try directory.makeStore(CausalModel.model)
    var random = SeededRandom(1)
    inputs = random.numbers(3 * width)
    try CausalModel.append(random.numbers(5 * width), to: 1, store)
  }

  private func expectRefusal(
    _ words: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws(StoreError) -> Void
  ) {
    let error = thrown(body)
    guard case .invalidInput(let text) = error else {
      Issue.record("\(String(describing: error))", sourceLocation: sourceLocation)
      return
    }
    #expect(text.contains(words), sourceLocation: sourceLocation)
  }

  // MARK: Ends

  @Test func `a commit after somebody else appended is a conflict and writes nothing`() throws {
    let other = try CacheStore.open(at: store.path)
    let stage = try store.stage([2, 1], counts: [3, 3])
    try CausalModel.run(stage, inputs + inputs)
    try CausalModel.append(Array(inputs[..<width]), to: 1, other)
    #expect(throws: StoreError.positionConflict(user: 1, expected: 5, length: 6)) { try stage.commit() }
    #expect(try store.length(of: 1) == 6)
    #expect(throws: StoreError.unknownUser(2)) { _ = try store.length(of: 2) }
    #expect(throws: StoreError.positionConflict(user: 1, expected: 5, length: 6)) { try stage.commit() }
    try CausalModel.append(inputs, to: 1, store)
    #expect(try other.length(of: 1) == 9)
  }

  @Test func `a stage goes on with the snapshot that it began with`() throws {
    let stage = try store.stage([1], counts: [3])
    let early = try store.stage([1], counts: [3])
    let expected = try CausalModel.run(early, inputs)
    try CausalModel.append(inputs, to: 1, store)
    _ = try store.delete(user: 1)
    expectSame(difference(try CausalModel.run(stage, inputs), expected))
    #expect(throws: StoreError.positionConflict(user: 1, expected: 5, length: 0)) { try stage.commit() }
    #expect(throws: StoreError.unknownUser(1)) { _ = try store.length(of: 1) }
  }

  @Test func `a discarded stage has written nothing and is over`() throws {
    let before = try store.statistics()
    let stage = try store.stage([1, 2], counts: [1, 2])
    try CausalModel.run(stage, inputs)
    stage.discard()
    #expect(try store.statistics().positions == before.positions)
    #expect(try store.statistics().tailRows == before.tailRows)
    expectOver(stage)
  }

  @Test func `a committed stage is over`() throws {
    let stage = try store.stage([1], counts: [3])
    try CausalModel.run(stage, inputs)
    #expect(try stage.commit() == [8])
    expectOver(stage)
    #expect(try store.length(of: 1) == 8)
  }

  private func expectOver(_ stage: Stage) {
    expectRefusal("the stage is over") { () throws(StoreError) in try stage.encode(layer: 0, inputs) }
    expectRefusal("the stage is over") { () throws(StoreError) in try stage.set(layer: 0, LayerEntries()) }
    expectRefusal("the stage is over") { () throws(StoreError) in _ = try stage.attend(layer: 0, []) }
    expectRefusal("the stage is over") { () throws(StoreError) in try stage.commit() }
  }

  @Test func `a user without rows has an empty history and gets one by the commit`() throws {
    let stage = try store.stage([9, 8], counts: [3, 0], expecting: [0, 0])
    #expect(stage.lengths == [0, 0])
    try CausalModel.run(stage, inputs)
    #expect(throws: StoreError.unknownUser(9)) { _ = try store.length(of: 9) }
    #expect(try stage.commit() == [3, 0])
    #expect(try store.length(of: 9) == 3)
    #expect(throws: StoreError.unknownUser(8)) { _ = try store.length(of: 8) }
  }

  @Test func `a commit keeps items and timestamps where the store does`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(
      CausalModel.model, .init(keepsItems: true, keepsTimestamps: true, durability: .normal))
    let stage = try store.stage([1], counts: [3])
    try CausalModel.run(stage, inputs)
    expectRefusal("keeps item ids") { () throws(StoreError) in try stage.commit() }
    expectRefusal("2 items for 3") { () throws(StoreError) in try stage.commit(items: [1, 2], timestamps: [1, 2, 3]) }
    #expect(throws: StoreError.unknownUser(1)) { _ = try store.length(of: 1) }
    #expect(try stage.commit(items: [4, 5, 6], timestamps: [7, 8, 9]) == [3])
    let entries = try store.entries(of: 1)
    #expect(entries.items == [4, 5, 6])
    #expect(entries.timestamps == [7, 8, 9])
  }

  // MARK: Layers

  @Test func `a layer that is not encoded is neither attended nor committed`() throws {
    let stage = try store.stage([1], counts: [3])
    let queries = CausalModel.queries(inputs, layer: 0)
    expectRefusal("layer 0 is not encoded") { () throws(StoreError) in _ = try stage.attend(layer: 0, queries) }
    try stage.encode(layer: 0, inputs)
    expectRefusal("layer 1 is not encoded") { () throws(StoreError) in try stage.commit() }
    expectRefusal("layer 1 is not encoded") { () throws(StoreError) in _ = try stage.attend(layer: 1, queries) }
    #expect(try store.length(of: 1) == 5)
    try stage.encode(layer: 1, inputs)
    #expect(try stage.commit() == [8])
  }

  @Test func `a layer encoded again counts as encoded the last time`() throws {
    let stage = try store.stage([2], counts: [3])
    try stage.encode(layer: 0, inputs.map { $0 / 2 })
    try CausalModel.run(stage, inputs)
    try stage.commit()
    try CausalModel.append(inputs, to: 3, store)
    #expect(try store.entries(of: 2) == store.entries(of: 3))
  }

  @Test func `entries that were encoded elsewhere can be staged`() throws {
    let entries = try store.encode(
      stride(from: 0, to: inputs.count, by: width).flatMap { start in
        let row = inputs[start..<start + width]
        return Array(row + row)
      }, count: 3)
    let stage = try store.stage([2, 3], counts: [1, 2])
    for layer in 0..<2 { try stage.set(layer: layer, entries.layers[layer]) }
    let queries = CausalModel.queries(inputs, layer: 0)
    let output = try stage.attend(layer: 0, queries)
    #expect(try stage.commit() == [1, 2])
    try store.append(entries, runs: [AppendRun(user: 4, count: 1), AppendRun(user: 5, count: 2)])
    #expect(try store.entries(of: 2) == store.entries(of: 4))
    #expect(try store.entries(of: 3) == store.entries(of: 5))
    let stored = try store.attend(Array(queries[8...]), user: 3, layer: 0, positions: [1, 2])
    expectSame(difference(Array(output[8...]), stored))
  }

  // MARK: Refusals

  @Test func `stages that make no sense are refused`() throws {
    expectRefusal("2 users, 1 counts") { () throws(StoreError) in _ = try store.stage([1, 2], counts: [1]) }
    expectRefusal("1 users, 1 counts, 2 positions") { () throws(StoreError) in
      _ = try store.stage([1], counts: [1], expecting: [1, 2])
    }
    expectRefusal("a user is twice") { () throws(StoreError) in _ = try store.stage([1, 2, 1], counts: [1, 1, 1]) }
    expectRefusal("-1 new positions") { () throws(StoreError) in _ = try store.stage([1], counts: [-1]) }
    expectRefusal("new positions; a stage holds") { () throws(StoreError) in
      _ = try store.stage([1, 2], counts: [.max, 1])
    }
    #expect(throws: StoreError.positionConflict(user: 1, expected: 4, length: 5)) {
      _ = try store.stage([2, 1], counts: [1, 1], expecting: [0, 4])
    }
  }

  @Test func `wrong counts, layers and numbers are refused`() throws {
    let stage = try store.stage([1], counts: [3])
    for layer in [-1, 2, .max] {
      expectRefusal("layer \(layer) does not exist") { () throws(StoreError) in try stage.encode(layer: layer, inputs) }
    }
    expectRefusal("12 numbers for 3 embeddings") { () throws(StoreError) in
      try stage.encode(layer: 0, Array(inputs[..<12]))
    }
    var bad = inputs
    bad[7] = .nan
    expectRefusal("nan") { () throws(StoreError) in try stage.encode(layer: 0, bad) }
    expectRefusal("key.index has 0 numbers, expected 3") { () throws(StoreError) in
      try stage.set(layer: 0, LayerEntries())
    }
    expectRefusal("is 99, the pool has 16 rows") { () throws(StoreError) in
      try stage.set(
        layer: 0,
        LayerEntries(
          keyIndices: [1, 99, 2], valueIndices: [0, 0, 0], keyUser: Array(repeating: 0, count: 6),
          valueUser: Array(repeating: 0, count: 9)))
    }
    expectRefusal("cannot hold") { () throws(StoreError) in
      try stage.set(
        layer: 0,
        LayerEntries(
          keyIndices: [1, 9, 2], valueIndices: [0, 0, 0], keyUser: Array(repeating: 70_000, count: 6),
          valueUser: Array(repeating: 0, count: 9)))
    }
    try stage.encode(layer: 0, inputs)
    let queries = CausalModel.queries(inputs, layer: 0)
    expectRefusal("23 numbers for 3 queries") { () throws(StoreError) in
      _ = try stage.attend(layer: 0, Array(queries.dropLast()))
    }
    expectRefusal("a window of 0 positions") { () throws(StoreError) in
      _ = try stage.attend(layer: 0, queries, .softmax(window: 0))
    }
    expectRefusal("a scale of -1.0") { () throws(StoreError) in
      _ = try stage.attend(layer: 0, queries, .softmax(scale: -1))
    }
    #expect(try store.length(of: 1) == 5)
  }

  @Test func `a key-only layer is staged and not attended`() throws {
    let store = try directory.makeStore(.keyOnly, named: "keys")
    let stage = try store.stage([1], counts: [3])
    try stage.encode(layer: 0, inputs)
    expectRefusal("layer 0 has no values") { () throws(StoreError) in
      _ = try stage.attend(layer: 0, Array(repeating: 0, count: 24))
    }
    #expect(try stage.commit() == [3])
    #expect(try store.reconstruct(user: 1, layer: 0).values == [])
  }

  @Test func `an interned layer is staged with its items`() throws {
    let store = try directory.makeStore(.interned, named: "interned")
    let stage = try store.stage([1], counts: [3])
    expectRefusal("layer 0 is interned") { () throws(StoreError) in try stage.encode(layer: 0, []) }
    expectRefusal("has 50 rows") { () throws(StoreError) in try stage.encode(layer: 0, [], items: [1, 50, 2]) }
    expectRefusal("2 items for 3") { () throws(StoreError) in try stage.encode(layer: 0, [], items: [1, 2]) }
    try stage.encode(layer: 0, [], items: [1, 49, 2])
    #expect(try stage.commit() == [3])
    #expect(try store.entries(of: 1).layers[0].keyIndices == [1, 49, 2])
  }
}
