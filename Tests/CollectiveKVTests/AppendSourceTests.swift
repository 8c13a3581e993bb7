/// Where new positions come from: embeddings, the model's items, entries encoded elsewhere, all of them in one batch.

import CollectiveKV
import Testing

struct AppendSourceTests {
  private let reference = Reference(.items)

  private func kept(_ events: [Event], _ element: ElementType = .f16) -> [Kept] {
    events.map { reference.kept($0, as: element) }
  }

  private func embeddings(_ events: [Event]) -> [Float] { events.flatMap { $0.embeddings.flatMap { $0 } } }

  @Test func `items append what their embeddings in the model say`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items)
    var random = SeededRandom(1)
    let events = reference.events(20, &random)
    #expect(try store.append(user: 1, items: events.map(\.item)) == 20)
    #expect(try store.append(user: 2, embeddings: embeddings(events)) == 20)
    for user in [UserID.integer(1), 2] { expectSame(try difference(store, user, kept(events), reference)) }
    #expect(store.model.takesItems)
    #expect(store.model.itemCount == 50)
  }

  @Test(arguments: [(false, false), (true, false), (false, true), (true, true)])
  func `items and timestamps come back where they are kept`(keepsItems: Bool, keepsTimestamps: Bool) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(
      .plain, .init(keepsItems: keepsItems, keepsTimestamps: keepsTimestamps, durability: .normal))
    let reference = Reference(.plain)
    var random = SeededRandom(2)
    var events = reference.events(120, &random)
    // Any integer may be an item's id or a time.
    for (place, extreme) in [(3, Int64.min), (50, .max), (51, -1), (119, .min)] {
      events[place].item = extreme
      events[place].timestamp = extreme &- 1
    }
    for start in stride(from: 0, to: 60, by: 20) {
      try store.append([AppendRequest(events[start..<start + 20], user: 1, expecting: start)])
    }
    try store.append([AppendRequest(events[60...], user: 1)])
    let expected = events.map { reference.kept($0, as: .f16) }
    expectSame(try difference(store, 1, expected, reference))
    try store.fold()
    expectSame(try difference(store, 1, expected, reference), "folded")
    let part = try store.entries(of: 1, positions: 40..<55)
    #expect(part.items == (keepsItems ? events[40..<55].map(\.item) : nil))
    #expect(part.timestamps == (keepsTimestamps ? events[40..<55].map(\.timestamp) : nil))
    let reopened = try CacheStore.open(at: store.path)
    #expect(reopened.keepsItems == keepsItems)
    #expect(reopened.keepsTimestamps == keepsTimestamps)
  }

  @Test func `entries encoded elsewhere are the positions that they were encoded from`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.mixed)
    let reference = Reference(.mixed)
    var random = SeededRandom(3)
    let events = reference.events(30, &random)
    let items = events.map(\.item)
    let entries = try store.encode(embeddings(events), count: 30, items: items)
    #expect(throws: StoreError.unknownUser(1)) { _ = try store.length(of: 1) }
    #expect(try store.append(user: 1, entries: entries) == 30)
    let lengths = try store.append(
      entries, runs: [AppendRun(user: 2, count: 11), AppendRun(user: 3), AppendRun(user: 2, count: 18)])
    #expect(lengths == [11, 1, 29])
    let expected = events.map { reference.kept($0, as: .f16) }
    expectSame(try difference(store, 1, expected, reference))
    expectSame(try difference(store, 2, Array(expected[..<11] + expected[12...]), reference))
    expectSame(try difference(store, 3, [expected[11]], reference))
    let full = try store.reconstruct(entries, layer: 0)
    expectSame(difference(full, reference.full(events.map { reference.kept($0, as: .f32) }, layer: 0)))
  }

  @Test(arguments: 1...10)
  func `one batch mixes every source`(seed: Int) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items, .init(keepsItems: true, keepsTimestamps: true, durability: .normal))
    var random = SeededRandom(seed)
    var expected: [UserID: [Kept]] = [:]
    var batch: [AppendRequest] = []
    for _ in 0..<12 {
      let user = UserID.integer(Int64(random.below(4)))
      let events = reference.events(random.below(8), &random)
      let (items, timestamps) = (events.map(\.item), events.map(\.timestamp))
      switch random.below(4) {
      case 0:
        batch.append(
          AppendRequest(user: user, source: .embeddings(embeddings(events)), items: items, timestamps: timestamps))
      case 1:
        let shared = events.flatMap { $0.embeddings[0] }
        batch.append(
          AppendRequest(user: user, source: .sharedEmbeddings(shared), items: items, timestamps: timestamps))
      case 2:
        let repeated = random.chance(50) ? items : nil
        batch.append(
          AppendRequest(user: user, source: .itemEmbeddings(items), items: repeated, timestamps: timestamps))
      default:
        var entries = try store.encode(embeddings(events), count: events.count, items: items)
        entries.timestamps = timestamps
        batch.append(AppendRequest(user: user, source: .entries(entries)))
      }
      expected[user, default: []] += kept(events)
      if random.chance(30) || batch.count == 5 {
        try store.append(batch)
        batch = []
      }
    }
    try store.append(batch)
    for (user, history) in expected where !history.isEmpty {
      expectSame(try difference(store, user, history, reference), "seed \(seed), user \(user)")
    }
  }

  @Test(arguments: [TestModel.plain, .interned, .items, .mixed])
  func `appending nothing is no error and changes nothing`(model: TestModel) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(model, .init(keepsItems: true, keepsTimestamps: true, durability: .normal))
    #expect(try store.append([]) == [])
    #expect(try store.append([AppendRequest([], user: 1)]) == [0])
    #expect(try store.append(user: 1, entries: store.encode([], count: 0, items: [])) == 0)
    if model.shape.embeddingWidth > 0 { #expect(try store.append(user: 1, embeddings: []) == 0) }
    #expect(throws: StoreError.unknownUser(1)) { _ = try store.length(of: 1) }
    #expect(try store.statistics().tailRows == 0)
  }

  // MARK: Positions

  @Test(arguments: 1...10)
  func `a replayed stream that skips repeats is harmless`(seed: Int) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items, .init(keepsItems: true, durability: .normal))
    var random = SeededRandom(seed)
    let events = reference.events(150, &random)
    var length = 0
    while length < events.count {
      // From anywhere that was appended before, over what follows.
      let start = random.chance(30) ? 0 : max(0, length - random.below(30))
      let end = min(events.count, max(start, length - 5) + random.below(random.chance(15) ? 90 : 15))
      let seen = try store.append(
        [AppendRequest(events[start..<max(start, end)], user: 1, expecting: start)], repeats: .skip)
      length = max(length, end)
      #expect(seen == [length], "seed \(seed)")
      if random.chance(10) { try store.fold() }
    }
    expectSame(try difference(store, 1, kept(events), reference), "seed \(seed)")
  }

  @Test(arguments: [RepeatPolicy.refuse, .skip])
  func `a gap is refused and nothing of its batch is written`(repeats: RepeatPolicy) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items)
    var random = SeededRandom(4)
    let events = reference.events(10, &random)
    try store.append([AppendRequest(events[..<6], user: 1)])
    #expect(throws: StoreError.positionConflict(user: 1, expected: 7, length: 6)) {
      try store.append(
        [AppendRequest(events, user: 2), AppendRequest(events[7...], user: 1, expecting: 7)], repeats: repeats)
    }
    #expect(throws: StoreError.positionConflict(user: 3, expected: 1, length: 0)) {
      try store.append(
        [AppendRequest(events, user: 1), AppendRequest(events, user: 3, expecting: 1)], repeats: repeats)
    }
    #expect(try store.length(of: 1) == 6)
    #expect(throws: StoreError.unknownUser(2)) { _ = try store.length(of: 2) }
    #expect(throws: StoreError.unknownUser(3)) { _ = try store.length(of: 3) }
    expectSame(try difference(store, 1, Array(kept(events)[..<6]), reference))
  }

  @Test func `a repeat is refused unless the caller asks for it to be skipped`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items)
    var random = SeededRandom(5)
    let events = reference.events(10, &random)
    try store.append([AppendRequest(events[..<6], user: 1)])
    for position in [0, 5] {
      #expect(throws: StoreError.positionConflict(user: 1, expected: position, length: 6)) {
        try store.append([AppendRequest(events[position...], user: 1, expecting: position)])
      }
    }
    #expect(try store.append([AppendRequest(events[6...], user: 1, expecting: 6)]) == [10])
    expectSame(try difference(store, 1, kept(events), reference))
  }

  @Test func `runs of one user in a batch count on from one another`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items)
    var random = SeededRandom(6)
    let events = reference.events(12, &random)
    let lengths = try store.append([
      AppendRequest(events[..<4], user: 1, expecting: 0), AppendRequest(events[4..<5], user: 1, expecting: 4),
      AppendRequest(events[..<2], user: 2), AppendRequest(events[5...], user: 1, expecting: 5),
    ])
    #expect(lengths == [4, 5, 2, 12])
    expectSame(try difference(store, 1, kept(events), reference))
  }
}
