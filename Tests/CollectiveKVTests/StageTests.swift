/// Stages: new positions computed layer by layer, as a deep causal model needs it. The model of these tests feeds
/// layer 1 with a fixed linear map of layer 0's attention output plus the input.

import CollectiveKV
import Testing

/// A two-layer causal model around a store.
struct CausalModel {
  static let model = TestModel(
    TestModel.shape([
      LayerShape(key: TestModel.part(2, 6, 16), value: TestModel.part(3, 5, 9), heads: 2),
      LayerShape(key: TestModel.part(1, 7, 12), value: TestModel.part(2, 6, 12, hasRouter: false), heads: 4),
    ]))

  /// Queries of one layer: the input's numbers over again.
  static func queries(_ inputs: [Float], layer: Int) -> [Float] {
    let (width, wanted) = (model.shape.embeddingWidth, model.shape.layers[layer].key.width)
    return stride(from: 0, to: inputs.count, by: width).flatMap { start in
      (0..<wanted).map { inputs[start + $0 % width] / Float($0 / width + 1) }
    }
  }

  /// Layer 1's input: position by position, so that it does not depend on what else is computed with it.
  static func next(_ inputs: [Float], _ output: [Float]) -> [Float] {
    let (width, given) = (model.shape.embeddingWidth, model.shape.layers[0].value!.width)
    return inputs.indices.map { place in
      let (position, column) = (place / width, place % width)
      return inputs[place] + output[position * given + column] / 2 - output[position * given + column + 2] / 4
    }
  }

  /// Computes both layers of a stage.
  ///
  /// - Returns: layer 1's output.
  @discardableResult
  static func run(_ stage: Stage, _ inputs: [Float], mask: StageMask = .causal) throws -> [Float] {
    try stage.encode(layer: 0, inputs)
    let output = try stage.attend(layer: 0, queries(inputs, layer: 0), mask: mask)
    let next = next(inputs, output)
    try stage.encode(layer: 1, next)
    return try stage.attend(layer: 1, queries(next, layer: 1), mask: mask)
  }

  /// Appends positions of one user through a stage.
  @discardableResult
  static func append(_ inputs: [Float], to user: UserID, _ store: CacheStore) throws -> [Float] {
    let stage = try store.stage([user], counts: [inputs.count / model.shape.embeddingWidth])
    let output = try run(stage, inputs)
    try stage.commit()
    return output
  }
}

struct StageTests {
  static let elements: [ElementType] = [.f32, .f16]
  private let directory: TemporaryDirectory
  private let width = CausalModel.model.shape.embeddingWidth

  init() throws { directory = try TemporaryDirectory() }

  private func makeStore(_ element: ElementType, named name: String = "shop.ckv") throws -> CacheStore {
    try directory.makeStore(
      CausalModel.model, .init(element: element, pageByteCount: 4_096, durability: .normal), named: name)
  }

  // MARK: Causal

  @Test(arguments: 1...8, elements)
  func `a prefill, single appends and any pieces give the same rows and outputs, bit for bit`(
    seed: Int, element: ElementType
  ) throws {
    var random = SeededRandom(seed)
    let count = 1 + random.below(130)
    let inputs = random.numbers(count * width)
    let whole = try makeStore(element, named: "whole")
    let output = try CausalModel.append(inputs, to: 1, whole)
    let expected = try whole.entries(of: 1)
    #expect(expected.count == count)
    for (name, limit) in [("single", 1), ("pieces", 40)] {
      let store = try makeStore(element, named: name)
      var pieces: [Float] = []
      var done = 0
      while done < count {
        let next = min(count, done + 1 + random.below(limit))
        pieces += try CausalModel.append(Array(inputs[done * width..<next * width]), to: 1, store)
        done = next
        if random.chance(10) { try store.fold() }
      }
      expectSame(difference(pieces, output), "seed \(seed), \(name): outputs")
      #expect(try store.entries(of: 1) == expected, "seed \(seed), \(name)")
      for layer in 0..<2 {
        #expect(try store.reconstruct(user: 1, layer: layer) == whole.reconstruct(user: 1, layer: layer))
      }
    }
  }

  @Test(arguments: 1...5, elements)
  func `the first layer's rows and outputs are the reference's`(seed: Int, element: ElementType) throws {
    var random = SeededRandom(seed)
    let reference = Reference(CausalModel.model)
    let store = try makeStore(element)
    let events = reference.events(30, &random)
    let kept = events.map { reference.kept($0, as: element) }
    let inputs = events.map { $0.embeddings[0] }
    let full = reference.full(kept, layer: 0)
    for piece in [0..<13, 13..<30] {
      let stage = try store.stage([1], counts: [piece.count])
      let numbers = Array(inputs[piece].joined())
      let queries = CausalModel.queries(numbers, layer: 0)
      try stage.encode(layer: 0, numbers)
      let output = try stage.attend(layer: 0, queries)
      let (keyWidth, valueWidth) = (8, 8)
      for position in piece {
        let row = position - piece.lowerBound
        let expected = reference.attend(
          Array(queries[row * keyWidth..<(row + 1) * keyWidth]), full, 0..<position + 1, layer: 0)
        let seen = Array(output[row * valueWidth..<(row + 1) * valueWidth])
        expectSame(difference(seen, expected, within: 1e-5), "seed \(seed), position \(position)")
      }
      try CausalModel.run(stage, numbers)
      try stage.commit()
    }
    expectSame(difference(try store.reconstruct(user: 1, layer: 0), full))
  }

  @Test(arguments: elements)
  func `a staged position sees what it sees once it is stored`(element: ElementType) throws {
    var random = SeededRandom(3)
    let store = try makeStore(element)
    try CausalModel.append(random.numbers(50 * width), to: 1, store)
    let inputs = random.numbers(20 * width)
    let stage = try store.stage([1], counts: [20])
    try stage.encode(layer: 0, inputs)
    let queries = CausalModel.queries(inputs, layer: 0)
    for attention in [Attention.softmax(), .softmax(scale: 2), .softmax(window: 7), .softmax(scale: 0.1, window: 60)] {
      let staged = try stage.attend(layer: 0, queries, attention)
      let other = try makeStore(element, named: "other-\(attention.window ?? 0)-\(attention.scale ?? 0)")
      try other.append(user: 1, entries: store.entries(of: 1))
      let full = try other.stage([1], counts: [20])
      try CausalModel.run(full, inputs)
      try full.commit()
      let stored = try other.attend(queries, user: 1, layer: 0, attention, positions: Array(51...70))
      expectSame(difference(staged, stored), "\(attention)")
    }
  }

  // MARK: Candidates

  @Test(arguments: 1...4, elements)
  func `a candidate sees what it would see had it alone been appended`(seed: Int, element: ElementType) throws {
    var random = SeededRandom(seed)
    let store = try makeStore(element)
    let length = random.below(80)
    let history = random.numbers(length * width)
    if length > 0 { try CausalModel.append(history, to: 1, store) }
    let candidates = random.numbers(6 * width)
    for attention in [Attention.softmax(), .softmax(window: 5)] {
      let stage = try store.stage([1], counts: [6])
      try stage.encode(layer: 0, candidates)
      let queries = CausalModel.queries(candidates, layer: 0)
      let output = try stage.attend(layer: 0, queries, mask: .historyAndSelf, attention)
      stage.discard()
      for candidate in 0..<6 {
        let alone = try store.stage([1], counts: [1])
        let input = Array(candidates[candidate * width..<(candidate + 1) * width])
        try CausalModel.run(alone, input)
        // Stored in a copy, so that the next candidate finds the same history.
        let copy = try makeStore(element, named: "copy-\(attention.window ?? 0)-\(candidate)")
        if length > 0 { try copy.append(user: 1, entries: store.entries(of: 1)) }
        let appending = try copy.stage([1], counts: [1])
        try CausalModel.run(appending, input)
        #expect(try appending.commit() == [length + 1])
        let query = Array(queries[candidate * 8..<(candidate + 1) * 8])
        let expected = try copy.attend(query, user: 1, layer: 0, attention)
        expectSame(
          difference(Array(output[candidate * 8..<(candidate + 1) * 8]), expected), "seed \(seed), \(candidate)")
        let causal = try alone.attend(layer: 0, query, attention)
        expectSame(difference(causal, expected), "seed \(seed), \(candidate), causal")
        try copy.close()
      }
    }
    if length > 0 { #expect(try store.length(of: 1) == length) }
  }

  // MARK: Several users

  @Test(arguments: 1...6, elements)
  func `a ragged stage is its users' stages side by side`(seed: Int, element: ElementType) throws {
    var random = SeededRandom(seed)
    let (together, apart) = (try makeStore(element, named: "together"), try makeStore(element, named: "apart"))
    var users: [UserID] = [3, .bytes([3]), -9, 7, .bytes([])]
    users.shuffle(using: &random)
    for user in users where random.chance(50) {
      let inputs = random.numbers((1 + random.below(40)) * width)
      try CausalModel.append(inputs, to: user, together)
      try CausalModel.append(inputs, to: user, apart)
    }
    for _ in 0..<4 {
      let counts = users.map { _ in random.chance(30) ? 0 : random.below(12) }
      let inputs = counts.map { random.numbers($0 * width) }
      let lengths = users.map { user in (try? together.length(of: user)) ?? 0 }
      let stage = try together.stage(users, counts: counts, expecting: lengths)
      #expect(stage.users == users)
      #expect(stage.counts == counts)
      #expect(stage.lengths == lengths)
      let output = try CausalModel.run(stage, inputs.flatMap { $0 })
      #expect(try stage.commit() == zip(lengths, counts).map(+))
      var outputs: [Float] = []
      for (user, inputs) in zip(users, inputs) { outputs += try CausalModel.append(inputs, to: user, apart) }
      expectSame(difference(output, outputs), "seed \(seed)")
    }
    for user in users {
      #expect((try? together.entries(of: user)) == (try? apart.entries(of: user)), "seed \(seed), user \(user)")
    }
  }
}
