/// A history is what was appended, whatever pieces it came in and whatever was done to the store in between.

import CollectiveKV
import Testing

struct AppendOrderTests {
  /// A store of a random model, and random histories for it.
  private struct Setting {
    var random: SeededRandom
    let directory: TemporaryDirectory
    let model: TestModel
    var options: CreateOptions
    var histories: Histories

    init(seed: Int, _ element: ElementType) throws {
      random = SeededRandom(seed)
      directory = try TemporaryDirectory()
      model = TestModel.random(seed: seed)
      options = CreateOptions(
        element: element, keepsItems: random.chance(50), keepsTimestamps: random.chance(50),
        pageByteCount: random.chance(70) ? 4_096 : 16_384, durability: .normal)
      histories = Histories(Reference(model), element, users: 1 + random.below(6), lengthLimit: 150, &random)
    }

    /// The users in the order of arrival, each as often as it has positions.
    mutating func arrivals() -> [UserID] {
      var users = Set(histories.users).sorted().flatMap { user in histories.events[user]!.map { _ in user } }
      users.shuffle(using: &random)
      return users
    }
  }

  static let elements: [ElementType] = [.f32, .f16, .bf16]

  @Test(arguments: 1...12, elements)
  func `a history appended at once is the reference's`(seed: Int, element: ElementType) throws {
    let setting = try Setting(seed: seed, element)
    let store = try setting.directory.makeStore(setting.model, setting.options)
    let histories = setting.histories
    let users = Set(histories.users).sorted()
    let lengths = try store.append(users.map { histories.request($0, 0..<histories.events[$0]!.count) })
    #expect(lengths == users.map { histories.events[$0]!.count })
    expectSame(try histories.difference(store), "seed \(seed), \(element)")
    #expect(try store.verify().problems == [], "seed \(seed), \(element)")
  }

  @Test(arguments: 1...6, elements)
  func `a history appended one by one is the reference's`(seed: Int, element: ElementType) throws {
    var setting = try Setting(seed: seed, element)
    let store = try setting.directory.makeStore(setting.model, setting.options)
    let histories = setting.histories
    var lengths: [UserID: Int] = [:]
    for user in setting.arrivals() {
      let length = lengths[user, default: 0]
      #expect(try store.append([histories.request(user, length..<length + 1)]) == [length + 1])
      lengths[user] = length + 1
    }
    expectSame(try histories.difference(store), "seed \(seed), \(element)")
    try store.fold()
    expectSame(try histories.difference(store), "seed \(seed), \(element), folded")
  }

  @Test(arguments: 1...12, elements)
  func `a history appended in pieces, with upkeep in between, is the reference's`(
    seed: Int, element: ElementType
  ) throws {
    var setting = try Setting(seed: seed, element)
    var store = try setting.directory.makeStore(setting.model, setting.options)
    var appended = setting.histories
    for user in appended.users { appended.events[user] = [] }
    while let batch = pieces(&setting, appended) {
      try store.append(batch.map { setting.histories.request($0.user, $0.positions) })
      for piece in batch { appended.events[piece.user]! += setting.histories.events[piece.user]![piece.positions] }
      try upkeep(&store, &setting)
      if setting.random.chance(20) {
        expectSame(try appended.difference(store), "seed \(seed), \(element)")
      }
    }
    #expect(appended.events == setting.histories.events)
    expectSame(try appended.difference(store), "seed \(seed), \(element)")
    #expect(try store.verify().problems == [], "seed \(seed), \(element)")
    #expect(try store.statistics().positions == appended.events.values.reduce(0) { $0 + $1.count })
  }

  /// The next pieces of some users' histories, a user now and then twice; `nil` at the end.
  private func pieces(
    _ setting: inout Setting, _ appended: Histories
  ) -> [(user: UserID, positions: Range<Int>)]? {
    var lengths = appended.events.mapValues(\.count)
    var pieces: [(user: UserID, positions: Range<Int>)] = []
    for _ in 0..<1 + setting.random.below(4) {
      let open = lengths.keys.filter { lengths[$0]! < setting.histories.events[$0]!.count }.sorted()
      guard let user = open.randomElement(using: &setting.random) else { break }
      let (length, whole) = (lengths[user]!, setting.histories.events[user]!.count)
      let count = min(whole - length, setting.random.chance(20) ? whole : 1 + setting.random.below(20))
      pieces.append((user, length..<length + count))
      lengths[user] = length + count
    }
    return pieces.isEmpty ? nil : pieces
  }

  /// What may happen to a store at any time and must not change what it holds.
  private func upkeep(_ store: inout CacheStore, _ setting: inout Setting) throws {
    switch setting.random.below(12) {
    case 0, 1: try store.fold()
    case 2: _ = try store.vacuum()
    case 3:
      let pageByteCount = [4_096, 8_192, 32_768][setting.random.below(3)]
      _ = try store.vacuum(.init(pageByteCount: pageByteCount))
      #expect(try store.statistics().pageByteCount == pageByteCount)
    case 4, 5:
      let path = store.path
      if setting.random.chance(50) { try store.close() }
      store = try CacheStore.open(at: path, options: .init(durability: .normal))
    default: break
    }
  }
}
