/// Attention over stored histories against the reference: windows, positions, scales, batches.

import CollectiveKV
import Testing

struct AttendTests {
  /// A store of a random model, one history, and queries for a layer that has values.
  private struct Setting {
    var random: SeededRandom
    let directory: TemporaryDirectory
    let store: CacheStore
    let reference: Reference
    let layer: Int
    let full: ReferenceKV
    let length: Int

    init?(seed: Int, _ element: ElementType) throws {
      random = SeededRandom(seed)
      let model = TestModel.random(seed: seed)
      guard let layer = model.shape.layers.lastIndex(where: { $0.value != nil }) else { return nil }
      self.layer = layer
      directory = try TemporaryDirectory()
      let reference = Reference(model)
      self.reference = reference
      store = try directory.makeStore(model, .init(element: element, pageByteCount: 4_096, durability: .normal))
      length = 1 + random.below(150)
      let events = reference.events(length, &random)
      let split = random.below(length)
      try store.append([AppendRequest(events[..<split], user: 1)])
      if random.chance(50) { try store.fold() }
      try store.append([AppendRequest(events[split...], user: 1)])
      full = reference.full(events.map { reference.kept($0, as: element) }, layer: layer)
    }

    mutating func queries(_ count: Int) -> [Float] {
      random.numbers(count * reference.model.shape.layers[layer].key.width)
    }

    /// The reference's output, query by query.
    func expected(_ queries: [Float], _ ranges: [Range<Int>], scale: Double? = nil) -> [Double] {
      let width = reference.model.shape.layers[layer].key.width
      return ranges.enumerated().flatMap { row, range in
        reference.attend(Array(queries[row * width..<(row + 1) * width]), full, range, layer: layer, scale: scale)
      }
    }
  }

  @Test(arguments: 1...20, [ElementType.f32, .f16, .bf16])
  func `softmax attention is the reference's within 1e-5 of the largest number`(
    seed: Int, element: ElementType
  ) throws {
    guard var setting = try Setting(seed: seed, element) else { return }
    let queries = setting.queries(3)
    let (store, layer, length) = (setting.store, setting.layer, setting.length)
    func compare(
      _ attention: Attention, _ positions: [Int]?, _ ranges: [Range<Int>], scale: Double? = nil, _ name: String
    ) throws {
      let seen = try store.attend(queries, user: 1, layer: layer, attention, positions: positions)
      expectSame(
        difference(seen, setting.expected(queries, ranges, scale: scale), within: 1e-5),
        "seed \(seed), \(element), \(name)")
    }
    try compare(.softmax(), nil, [0..<length, 0..<length, 0..<length], "everything")
    let window = 1 + setting.random.below(length + 3)
    let low = max(0, length - window)
    try compare(.softmax(window: window), nil, [low..<length, low..<length, low..<length], "window \(window)")
    let positions = (0..<3).map { $0 == 0 ? 0 : setting.random.below(length + 1) }
    try compare(.softmax(), positions, positions.map { 0..<$0 }, "positions \(positions)")
    try compare(
      .softmax(window: window), positions, positions.map { max(0, $0 - window)..<$0 },
      "window \(window), positions \(positions)")
    try compare(.softmax(scale: 0.25), nil, [0..<length, 0..<length, 0..<length], scale: 0.25, "scale")
    // As far as the end, and one position alone.
    try compare(.softmax(window: 1), [length, 1, length], [length - 1..<length, 0..<1, length - 1..<length], "last")
    try compare(.softmax(window: .max), nil, [0..<length, 0..<length, 0..<length], "the largest window")
  }

  @Test(arguments: 1...10)
  func `the model's own scale is used unless the call brings one`(seed: Int) throws {
    var random = SeededRandom(seed)
    let directory = try TemporaryDirectory()
    var model = TestModel(TestModel.shape([TestModel.plainLayer, TestModel.additiveLayer]))
    model.metadata["ckvdb.scale"] = "0.125"
    model.metadata["ckvdb.scale.1"] = "2"
    let store = try directory.makeStore(model)
    let reference = Reference(model)
    let events = reference.events(40, &random)
    try store.append([AppendRequest(events, user: 1)])
    for (layer, scale) in [(0, 0.125), (1, 2.0)] {
      let query = random.numbers(model.shape.layers[layer].key.width)
      let full = reference.full(events.map { reference.kept($0, as: .f16) }, layer: layer)
      for (attention, factor) in [(Attention.softmax(), scale), (.softmax(scale: 0.5), 0.5)] {
        let seen = try store.attend(query, user: 1, layer: layer, attention)
        let expected = reference.attend(query, full, 0..<40, layer: layer, scale: factor)
        expectSame(difference(seen, expected, within: 1e-5), "seed \(seed), layer \(layer)")
      }
    }
  }

  @Test func `a query that sees nothing gets zeros`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.plain)
    try store.append(user: 1, embeddings: Array(repeating: 1, count: 12))
    let output = try store.attend(Array(repeating: 1, count: 16), user: 1, positions: [0, 2])
    #expect(output.count == 16)
    #expect(output[..<8].allSatisfy { $0 == 0 })
    #expect(!output[8...].allSatisfy { $0 == 0 })
    #expect(try store.attend([], user: 1) == [])
    #expect(try store.attend([], user: 1, positions: []) == [])
  }

  // MARK: Batches

  @Test func `one bad request of a batch does not fail the others`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.plain)
    try store.append(user: 1, embeddings: Array(repeating: 1, count: 12))
    try store.append(user: 2, embeddings: Array(repeating: -1, count: 6))
    let query = [Float](repeating: 0.5, count: 8)
    let requests = [
      AttendRequest(user: 1, queries: query),
      AttendRequest(user: 3, queries: query),
      AttendRequest(user: 2, queries: query + query, positions: [0, 1]),
      AttendRequest(user: 1, queries: Array(query.dropLast())),
      AttendRequest(user: 1, queries: query, positions: [3]),
      AttendRequest(user: 1, queries: query, positions: [-1]),
      AttendRequest(user: 1, queries: query, positions: [1, 1]),
      AttendRequest(user: 1, queries: query.map { _ in .nan }),
      AttendRequest(user: 1, queries: query.map { _ in .infinity }),
      AttendRequest(user: 2, queries: query),
    ]
    let responses = try store.attend(requests)
    #expect(responses.count == requests.count)
    for (place, length) in [(0, 2), (2, 1), (9, 1)] {
      #expect(responses[place].error == nil)
      #expect(responses[place].length == length)
      let alone = try store.attend(
        requests[place].queries, user: requests[place].user, positions: requests[place].positions)
      expectSame(difference(responses[place].output, alone), "request \(place)")
    }
    #expect(responses[1].error == .unknownUser(3))
    let words = [
      3: "7 numbers are no whole queries of 8", 4: "position 3 is beyond the length 2",
      5: "position -1 is beyond the length 2", 6: "2 positions for 1 queries", 7: "nan", 8: "inf",
    ]
    for (place, words) in words {
      #expect(reason(responses[place].error).contains(words), "request \(place)")
      #expect(responses[place].output == [])
    }
    // The call for one user throws what the batch answers.
    for place in [1, 3, 4, 5, 6, 7, 8] {
      let error = thrown { () throws(StoreError) in
        _ = try store.attend(
          requests[place].queries, user: requests[place].user, positions: requests[place].positions)
      }
      // NaN differs from itself: compared as text.
      #expect("\(String(describing: error))" == "\(String(describing: responses[place].error))")
    }
  }

  @Test func `a layer or parameter that fits no request is an error of the whole call`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.mixed)
    let request = AttendRequest(user: 1, queries: [])
    for layer in [-1, 5, .max, .min] {
      let error = thrown { () throws(StoreError) in _ = try store.attend([request], layer: layer) }
      #expect(reason(error) == "layer \(layer) does not exist: the model has 5")
      let other = thrown { () throws(StoreError) in _ = try store.reconstruct(user: 1, layer: layer) }
      #expect(reason(other) == "layer \(layer) does not exist: the model has 5")
    }
    let keyOnly = thrown { () throws(StoreError) in _ = try store.attend([request], layer: 4) }
    #expect(reason(keyOnly) == "layer 4 has no values: it is for search only")
    for window in [0, -1, .min] {
      let error = thrown { () throws(StoreError) in _ = try store.attend([request], .softmax(window: window)) }
      #expect(reason(error) == "a window of \(window) positions")
    }
    for scale in [0, -1, Float.nan, .infinity] {
      let error = thrown { () throws(StoreError) in _ = try store.attend([request], .softmax(scale: scale)) }
      #expect(reason(error) == "a scale of \(scale)")
    }
  }

  // MARK: Reading

  @Test(arguments: 1...10)
  func `any range of positions is that part of the whole`(seed: Int) throws {
    var random = SeededRandom(seed)
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(
      .mixed, .init(element: .f32, keepsItems: true, keepsTimestamps: true, pageByteCount: 4_096, durability: .normal))
    let reference = Reference(.mixed)
    let events = reference.events(1 + random.below(120), &random)
    let kept = events.map { reference.kept($0, as: .f32) }
    for start in stride(from: 0, to: events.count, by: 17) {
      try store.append([AppendRequest(events[start..<min(events.count, start + 17)], user: 1)])
      if random.chance(30) { try store.fold() }
    }
    for _ in 0..<30 {
      let low = random.below(events.count + 20)
      let asked = low..<low + random.below(events.count + 20)
      let range = asked.clamped(to: 0..<events.count)
      let entries = try store.entries(of: 1, positions: asked)
      #expect(entries.count == range.count)
      #expect(entries.items == kept[range].map(\.item))
      #expect(entries.timestamps == kept[range].map(\.timestamp))
      let layer = random.below(5)
      let full = try store.reconstruct(user: 1, layer: layer, positions: asked)
      expectSame(
        difference(full, reference.full(Array(kept[range]), layer: layer), from: range.lowerBound),
        "seed \(seed), \(asked)")
      expectSame(difference(try store.reconstruct(entries, layer: layer).keys, full.keys))
    }
  }

  @Test func `every history is handed out once, in the order of user ids`() throws {
    var random = SeededRandom(8)
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items, .init(keepsItems: true, durability: .normal))
    var histories = Histories(Reference(.items), .f16, users: 40, lengthLimit: 30, &random)
    for (place, user) in Set(histories.users).sorted().enumerated() {
      try store.append([histories.request(user, 0..<histories.events[user]!.count)])
      if place == 20 { try store.fold() }
    }
    histories.users = histories.users.filter { !histories.events[$0]!.isEmpty }
    var seen: [UserID] = []
    try store.forEachHistory(positions: 2..<9) { history in
      seen.append(history.user)
      let kept = histories.kept(history.user)
      let range = (2..<9).clamped(to: 0..<kept.count)
      #expect(history.length == kept.count)
      #expect(!history.isStale)
      #expect(history.positions == range)
      #expect(history.entries.items == kept[range].map(\.item))
    }
    #expect(seen == Set(histories.users).sorted())
    try store.forEachHistory(user: seen[3]) { #expect($0.entries.count == $0.length) }
    #expect(throws: StoreError.unknownUser(.bytes([9, 9]))) {
      try store.forEachHistory(user: .bytes([9, 9])) { _ in Issue.record("an unknown user has a history") }
    }
    struct Stop: Error {}
    #expect(throws: Stop.self) { try store.forEachHistory { _ in throw Stop() } }
    #expect(throws: Stop.self) { try store.forEachHistory(user: seen[0]) { _ in throw Stop() } }
    #expect(throws: StoreError.busy("mine")) { try store.forEachHistory { _ in throw StoreError.busy("mine") } }
  }
}
