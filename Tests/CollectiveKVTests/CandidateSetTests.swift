/// Sets of candidates: the bits of `attend`, for any number of users and threads, and what they refuse.

import CollectiveKV
import Testing

struct CandidateSetTests {
  private struct Setting {
    var random: SeededRandom
    let directory: TemporaryDirectory
    let store: CacheStore
    let layer: Int
    let width: Int
    /// Users 0 to 5; user 6 is unknown.
    let users: [UserID] = (0..<7).map { .integer($0) }

    init(_ model: TestModel, layer: Int = 0, seed: Int) throws {
      random = SeededRandom(seed)
      self.layer = layer
      width = model.shape.layers[layer].key.width
      directory = try TemporaryDirectory()
      store = try directory.makeStore(model)
      let reference = Reference(model)
      for user in users.dropLast() {
        try store.append([AppendRequest(reference.events(1 + random.below(120), &random), user: user)])
      }
    }

    mutating func queries(_ count: Int) -> [Float] { random.numbers(count * width) }
  }

  private static let attentions: [Attention] = [
    .softmax(), .softmax(scale: 0.5, window: 30), .topk(top: 9), .topk(top: 500), .select(top: 9),
    .simhash(top: 9, rotations: nil), .silu(divisor: 20), .siluBias(Array(repeating: 0.25, count: 200), divisor: 20),
    .sdimSum(rotations: nil),
  ]

  /// The attention with rotations of its own, which random models do not bring.
  private static func complete(_ attention: Attention, width: Int, _ random: inout SeededRandom) -> Attention {
    var attention = attention
    switch attention.kind {
    case .simhash(let top, _):
      attention.kind = .simhash(top: top, rotations: Rotations(random.numbers(8 * width), bits: 8))
    case .sdimSum: attention.kind = .sdimSum(rotations: Rotations(random.numbers(4 * width), groups: 2, bits: 2))
    default: break
    }
    return attention
  }

  @Test(arguments: 1...8, attentions)
  func `a set scores every user with the bits of attend, over any number of threads`(
    seed: Int, attention: Attention
  ) throws {
    let model = TestModel.random(seed: seed)
    guard let layer = model.shape.layers.lastIndex(where: { $0.value != nil }) else { return }
    var setting = try Setting(model, layer: layer, seed: seed)
    let attention = Self.complete(attention, width: setting.width, &setting.random)
    let (store, users) = (setting.store, setting.users)
    for count in [1, 6, 23] {
      let queries = setting.queries(count)
      let searched = setting.queries(count)
      let set = try store.candidates(queries, layer: layer, attention, selectQueries: searched)
      #expect(set.count == count && set.layer == layer && set.attention == attention)
      let shape = model.shape.layers[layer]
      #expect(set.tableByteCount >= count * shape.heads * shape.key.poolRows * 4)
      let one = try store.attend(set, users: users)
      for threads in [2, 7] {
        let other = try store.attend(set, users: users, threads: threads)
        #expect(other.map(\.output) == one.map(\.output) && other.map(\.error) == one.map(\.error))
      }
      for (user, response) in zip(users, one) {
        if user == users.last {
          #expect(response.error == .unknownUser(user) && response.output == [])
          continue
        }
        let plain = try store.attend(queries, user: user, layer: layer, attention, selectQueries: searched)
        expectSame(difference(response.output, plain), "user \(user), \(count) candidates")
        expectSame(difference(try store.attend(set, user: user), plain), "user \(user) alone")
        #expect(response.length == (try store.length(of: user)))
      }
    }
  }

  @Test func `a limit of bytes holds and changes no bit`() throws {
    var setting = try Setting(.plain, seed: 3)
    let queries = setting.queries(40)
    let plain = try setting.store.attend(queries, user: 1)
    let whole = try setting.store.candidates(queries)
    // Two heads, 16 pool rows, two blocks of 16 and one of 8 that takes the room of 16.
    #expect(whole.tableByteCount == 48 * 2 * 16 * 4)
    for limit in [whole.tableByteCount, whole.tableByteCount - 1, 5_000, 100, 0] {
      let set = try setting.store.candidates(queries, tableByteLimit: limit)
      #expect(set.tableByteCount <= limit)
      expectSame(difference(try setting.store.attend(set, user: 1), plain), "\(limit) bytes")
    }
    let error = thrown { () throws(StoreError) in
      _ = try setting.store.candidates(queries, tableByteLimit: -1)
    }
    #expect(reason(error) == "tables of at most -1 bytes")
  }

  @Test func `a set is refused by a store of another model and taken by one of the same`() throws {
    var setting = try Setting(.plain, seed: 4)
    let queries = setting.queries(7)
    let set = try setting.store.candidates(queries)
    let other = try setting.directory.makeStore(TestModel(TestModel.plain.shape, seed: 2), named: "other.ckv")
    let error = thrown { () throws(StoreError) in _ = try other.attend(set, user: 1) }
    #expect(
      reason(error)
        == "candidates were made for layer 0 of model \(setting.store.model.digest), the store's model is "
        + other.model.digest)
    #expect(thrown { () throws(StoreError) in _ = try other.attend(set, users: []) } == error)
    let memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    let third = thrown { () throws(StoreError) in
      _ = try other.attend(set, users: [], into: RowDestination(memory, element: .f32))
    }
    #expect(third == error)
    let same = try setting.directory.makeStore(.plain, named: "same.ckv")
    try same.append(user: 9, embeddings: Array(repeating: 0.5, count: 12))
    expectSame(difference(try same.attend(set, user: 9), try same.attend(queries, user: 9)))
  }

  @Test func `queries, layers and parameters that attend refuses are refused when the set is made`() throws {
    var setting = try Setting(.mixed, seed: 5)
    let store = setting.store
    let queries = setting.queries(2)
    func refusal(_ queries: [Float], _ layer: Int = 0, _ attention: Attention = .softmax()) -> String {
      reason(thrown { () throws(StoreError) in _ = try store.candidates(queries, layer: layer, attention) })
    }
    #expect(refusal(Array(queries.dropLast())) == "15 numbers are no whole queries of 8")
    #expect(refusal(queries.map { _ in .nan }).contains("nan"))
    #expect(refusal(queries, 5) == "layer 5 does not exist: the model has 5")
    #expect(refusal(queries, 4) == "layer 4 has no values: it is for search only")
    #expect(refusal(queries, 0, .topk(top: 0)) == "a top of 0 positions; at least 1 is needed")
    let set = try store.candidates([])
    #expect(set.count == 0 && set.tableByteCount == 0)
    #expect(try store.attend(set, user: 1) == [])
    let threads = thrown { () throws(StoreError) in _ = try store.attend(set, users: [1], threads: 0) }
    #expect(reason(threads) == "0 threads; at least 1 is needed")
  }

  @Test func `users' scores go into the caller's memory, zeros where a user is unknown`() throws {
    var setting = try Setting(.plain, seed: 6)
    let (store, users) = (setting.store, setting.users)
    let set = try store.candidates(setting.queries(6))
    let width = 8
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: users.count * 6 * width * 4, alignment: 4)
    defer { memory.deallocate() }
    for place in memory.indices { memory[place] = 0xAB }
    let statuses = try store.attend(set, users: users, into: RowDestination(memory, element: .f32), threads: 2)
    #expect(statuses.map(\.error) == Array(repeating: nil, count: 6) + [.unknownUser(6)])
    #expect(statuses.map(\.rows) == (0..<7).map { $0 * 6..<($0 + 1) * 6 })
    let numbers = memory.bindMemory(to: Float.self)
    for (number, response) in try store.attend(set, users: users).enumerated() {
      let seen = Array(numbers[number * 6 * width..<(number + 1) * 6 * width])
      let wanted = response.error == nil ? response.output : Array(repeating: 0, count: 6 * width)
      expectSame(difference(seen, wanted), "user \(number)")
    }
  }
}
