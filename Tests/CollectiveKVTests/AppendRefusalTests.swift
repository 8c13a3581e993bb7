/// What append refuses, and that it then writes nothing, of the whole batch.

import CollectiveKV
import Testing

struct AppendRefusalTests {
  private let directory: TemporaryDirectory
  private let store: CacheStore
  /// Twelve numbers: one position of one layer has six.
  private let good = [Float](repeating: 0.5, count: 12)

  init() throws {
    directory = try TemporaryDirectory()
    store = try directory.makeStore(.plain, .init(keepsItems: true, keepsTimestamps: true, durability: .normal))
    try store.append(user: 1, embeddings: good, items: [1, 2], timestamps: [3, 4])
  }

  /// Appends a good request, then the one under test, and expects that the error is the caller's and nothing happened.
  private func expectRefusal(
    _ request: AppendRequest, _ words: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let before = try store.entries(of: 1)
    let fine = AppendRequest(user: 2, source: .embeddings(good), items: [1, 2], timestamps: [1, 2])
    for batch in [[request], [fine, request], [request, fine]] {
      let error = thrown { () throws(StoreError) in try store.append(batch) }
      guard case .invalidInput(let text) = error else {
        Issue.record("\(String(describing: error))", sourceLocation: sourceLocation)
        continue
      }
      #expect(text.contains(words), sourceLocation: sourceLocation)
    }
    #expect(try store.entries(of: 1) == before, sourceLocation: sourceLocation)
    #expect(throws: StoreError.unknownUser(2), sourceLocation: sourceLocation) { _ = try store.length(of: 2) }
    #expect(try store.statistics().positions == 2, sourceLocation: sourceLocation)
  }

  private func request(
    _ embeddings: [Float], items: [Int64]? = [1, 2], timestamps: [Int64]? = [3, 4], user: UserID = 1
  ) -> AppendRequest {
    AppendRequest(user: user, source: .embeddings(embeddings), items: items, timestamps: timestamps)
  }

  // MARK: Embeddings and columns

  @Test func `numbers that are no whole rows are refused`() throws {
    try expectRefusal(request(Array(good.dropLast())), "11 numbers are no whole rows of 6")
    try expectRefusal(AppendRequest(user: 1, source: .sharedEmbeddings([1])), "1 numbers are no whole rows of 6")
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `embeddings that are not finite are refused`(number: Float) throws {
    var bad = good
    bad[8] = number
    try expectRefusal(request(bad), "holds \(number)")
  }

  @Test func `columns of another length than the positions are refused`() throws {
    try expectRefusal(request(good, items: [1]), "1 items for 2 positions")
    try expectRefusal(request(good, timestamps: [1, 2, 3]), "3 timestamps for 2 positions")
    try expectRefusal(request([], items: [1], timestamps: []), "1 items for 0 positions")
  }

  @Test func `columns that the store keeps have to be brought`() throws {
    try expectRefusal(request(good, items: nil), "item")
    try expectRefusal(request(good, timestamps: nil), "timestamps")
    let entries = try store.encode(good, count: 2)
    try expectRefusal(AppendRequest(user: 1, source: .entries(entries), timestamps: [1, 2]), "item")
    let error = thrown { () throws(StoreError) in try store.append(entries, runs: [AppendRun(user: 1, count: 2)]) }
    #expect(reason(error) == "the store keeps item ids, and the batch brings none")
  }

  @Test func `numbers that the element type cannot hold are refused`() throws {
    for (element, largest) in [(ElementType.f16, Float(65_519)), (.bf16, 0x1p127), (.i8, 65_519)] {
      let store = try directory.makeStore(.plain, .init(element: element, durability: .normal), named: element.name)
      var entries = try store.encode(Array(repeating: 0.5, count: 6), count: 1)
      entries.layers[0].keyUser[1] = largest
      #expect(try store.append(user: 1, entries: entries) == 1)
      entries.layers[0].keyUser[1] = element == .bf16 ? .greatestFiniteMagnitude : largest + 1
      let error = thrown { () throws(StoreError) in try store.append(user: 1, entries: entries) }
      #expect(reason(error).contains("which \(element.name) cannot hold"))
      #expect(try store.length(of: 1) == 1)
    }
  }

  // MARK: Entries

  @Test func `entries that do not fit the model are refused`() throws {
    let whole = try store.encode(good, count: 2, items: [1, 2])
    func expectRefusal(_ words: String, _ change: (inout Entries) -> Void) throws {
      var entries = whole
      entries.timestamps = [1, 2]
      change(&entries)
      try self.expectRefusal(AppendRequest(user: 1, source: .entries(entries)), words)
    }
    try expectRefusal("0 layers, the model has 1") { $0.layers = [] }
    try expectRefusal("2 layers, the model has 1") { $0.layers.append($0.layers[0]) }
    try expectRefusal("key.index has 1 numbers, expected 2") { $0.layers[0].keyIndices.removeLast() }
    try expectRefusal("value.index has 3 numbers, expected 2") { $0.layers[0].valueIndices.append(0) }
    try expectRefusal("key.user has 3 numbers, expected 4") { $0.layers[0].keyUser.removeLast() }
    try expectRefusal("value.user has 0 numbers, expected 6") { $0.layers[0].valueUser = [] }
    try expectRefusal("is 16, the pool has 16 rows") { $0.layers[0].keyIndices[1] = 16 }
    try expectRefusal("is 4294967295, the pool has 9 rows") { $0.layers[0].valueIndices[0] = .max }
    try expectRefusal("is nan, which f16 cannot hold") { $0.layers[0].keyUser[3] = .nan }
    try expectRefusal("1 items for 2 positions") { $0.items = [1] }
    try expectRefusal("3 timestamps for 2 positions") { $0.timestamps = [1, 2, 3] }
    try expectRefusal("expected") { $0.count = 1 }
    try expectRefusal("expected") { $0.count = -1 }
    try expectRefusal("expected") { $0.count = .max }
  }

  @Test func `runs that do not add up to the entries are refused`() throws {
    var entries = try store.encode(good, count: 2, items: [1, 2])
    entries.timestamps = [1, 2]
    for counts in [[1], [3], [2, 1], [-1, 3], [.max, .max], []] {
      let error = thrown { () throws(StoreError) in
        try store.append(entries, runs: counts.map { AppendRun(user: 1, count: $0) })
      }
      #expect(reason(error).contains("2 entries") || reason(error).contains("entries are left"), "\(counts)")
    }
    #expect(try store.length(of: 1) == 2)
  }

  // MARK: Users and positions

  @Test func `a user id of 256 bytes is refused and one of 255 is not`() throws {
    let longest = UserID.bytes(Array(repeating: 7, count: 255))
    try expectRefusal(request(good, user: .bytes(Array(repeating: 7, count: 256))), "a user id of 256 bytes")
    #expect(try store.append([request(good, user: longest), request(good, user: .bytes([]))]) == [2, 2])
    #expect(try store.length(of: longest) == 2)
    #expect(try store.length(of: .bytes([])) == 2)
  }

  @Test func `a user id of 256 bytes that is read or deleted is unknown`() throws {
    let user = UserID.bytes(Array(repeating: 7, count: 256))
    #expect(throws: StoreError.unknownUser(user)) { _ = try store.length(of: user) }
    #expect(throws: StoreError.unknownUser(user)) { _ = try store.delete(user: user) }
  }

  @Test(arguments: [-1, Int.min])
  func `a negative expected position is refused`(position: Int) throws {
    var request = request(good)
    request.expectedPosition = position
    try expectRefusal(request, "the expected position is \(position)")
  }

  @Test func `an expected position beyond any history is a conflict`() throws {
    #expect(throws: StoreError.positionConflict(user: 1, expected: .max, length: 2)) {
      try store.append(user: 1, embeddings: good, items: [1, 2], timestamps: [1, 2], expecting: .max)
    }
  }

  // MARK: Items

  @Test func `items out of the pool's or the embedding's range are refused`() throws {
    for (model, name) in [(TestModel.items, "items.embedding"), (.interned, "the pool of layer 0")] {
      let directory = try TemporaryDirectory()
      let store = try directory.makeStore(model)
      for item in [Int64(50), -1, .max, .min] {
        let error = thrown { () throws(StoreError) in try store.append(user: 1, items: [0, item]) }
        #expect(reason(error) == "item \(item) at row 1: \(name) has 50 rows")
      }
      #expect(try store.append(user: 1, items: [0, 49]) == 2)
    }
  }

  @Test func `an interned layer needs items`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.mixed)
    let one = [Float](repeating: 0.5, count: 30)
    let error = thrown { () throws(StoreError) in try store.append(user: 1, embeddings: one) }
    #expect(reason(error) == "layer 3 is interned: every row needs an item")
    #expect(throws: StoreError.invalidInput("layer 3 is interned: every row needs an item")) {
      _ = try store.encode(one, count: 1)
    }
    #expect(try store.append(user: 1, embeddings: one, items: [49]) == 1)
  }

  @Test func `a model without item embeddings takes no items in their place`() throws {
    try expectRefusal(
      AppendRequest(user: 1, source: .itemEmbeddings([1, 2]), timestamps: [1, 2]), "the model has no items.embedding")
  }

  @Test func `items that are not those whose embeddings are asked for are refused`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items, .init(keepsItems: true, durability: .normal))
    let request = AppendRequest(user: 1, source: .itemEmbeddings([1, 2]), items: [1, 3])
    let error = thrown { () throws(StoreError) in try store.append([request]) }
    #expect(reason(error) == "user 1: the items differ from those whose embeddings are asked for")
    #expect(throws: StoreError.unknownUser(1)) { _ = try store.length(of: 1) }
  }
}
