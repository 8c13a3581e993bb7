/// Every attention function over a store: where its parameters come from, batches, searches of other layers. What the
/// functions compute is held by the kept cases and by the runtime's own tests.

import CollectiveKV
import Testing

/// The attention functions with parameters that fit a layer with keys `width` wide.
struct EveryFunction {
  let rotations: Rotations
  let groups: Rotations
  let bias: [Float]

  init(width: Int, bias length: Int, _ random: inout SeededRandom) {
    rotations = Rotations(random.numbers(10 * width), bits: 10)
    groups = Rotations(random.numbers(6 * width), groups: 3, bits: 2)
    bias = random.numbers(length)
  }

  func all(top: Int, searching layer: Int?, window: Int? = nil) -> [Attention] {
    [
      .softmax(window: window), .topk(top: top, scale: 0.5, window: window),
      .select(top: top, layer: layer, window: window), .simhash(top: top, rotations: rotations, window: window),
      .sdim(rotations: groups, window: window), .sdimSum(rotations: groups, window: window),
      .silu(divisor: 30, scale: 2, window: window), .siluBias(bias, divisor: 7, window: window),
    ]
  }
}

struct FunctionAttendTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// A layer with values and one of search keys behind it.
  private static let model = TestModel(
    TestModel.shape([TestModel.plainLayer, TestModel.additiveLayer, TestModel.keyOnlyLayer]))

  private func store(_ model: TestModel = model, length: Int = 40, named name: String = "shop.ckv") throws -> CacheStore
  {
    var random = SeededRandom(length)
    let store = try directory.makeStore(model, .init(element: .f32, durability: .normal), named: name)
    try store.append([AppendRequest(Reference(model).events(length, &random), user: 1)])
    return store
  }

  // MARK: Parameters

  /// A model that brings rotations and divisors of both layers with values.
  private static func settled(_ random: inout SeededRandom) -> (model: TestModel, functions: [EveryFunction]) {
    var model = model
    var functions: [EveryFunction] = []
    for layer in 0..<2 {
      let width = model.shape.layers[layer].key.width
      let own = EveryFunction(width: width, bias: 64, &random)
      model.tensors["layers.\(layer).rotations.simhash"] = .init(shape: [10, width], numbers: own.rotations.values)
      model.tensors["layers.\(layer).rotations.sdim"] = .init(shape: [3, 2, width], numbers: own.groups.values)
      functions.append(own)
    }
    model.metadata["ckvdb.divisor"] = "30"
    model.metadata["ckvdb.divisor.1"] = "-0.5"
    model.metadata["ckvdb.scale"] = "0.25"
    return (model, functions)
  }

  @Test(arguments: [0, 1])
  func `rotations, scale and divisor come from the model unless the call brings its own`(layer: Int) throws {
    var random = SeededRandom(5)
    let (settled, functions) = Self.settled(&random)
    let (rich, poor) = (try store(settled), try store(named: "poor.ckv"))
    let own = functions[layer]
    let width = settled.shape.layers[layer].key.width
    let query = random.numbers(3 * width)
    let divisor: Float = layer == 0 ? 30 : -0.5
    let pairs: [(Attention, Attention)] = [
      (.softmax(), .softmax(scale: 0.25)), (.topk(top: 7), .topk(top: 7, scale: 0.25)),
      (.simhash(top: 7), .simhash(top: 7, rotations: own.rotations, scale: 0.25)),
      (.sdim(), .sdim(rotations: own.groups)), (.sdimSum(), .sdimSum(rotations: own.groups)),
      (.silu(), .silu(divisor: divisor, scale: 0.25)),
      (.siluBias(own.bias), .siluBias(own.bias, divisor: divisor, scale: 0.25)),
    ]
    for (brief, full) in pairs {
      let expected = try poor.attend(query, user: 1, layer: layer, full)
      expectSame(difference(try rich.attend(query, user: 1, layer: layer, brief), expected), "\(brief)")
      expectSame(difference(try rich.attend(query, user: 1, layer: layer, full), expected), "\(full)")
      #expect(expected.contains { $0 != 0 })
    }
    // Other rotations than the model's give other outputs.
    let other = EveryFunction(width: width, bias: 64, &random)
    let ours = try rich.attend(query, user: 1, layer: layer, .simhash(top: 3, rotations: other.rotations))
    expectSame(
      difference(
        ours, try poor.attend(query, user: 1, layer: layer, .simhash(top: 3, rotations: other.rotations, scale: 0.25))))
    #expect(ours != (try rich.attend(query, user: 1, layer: layer, .simhash(top: 3))))
  }

  @Test(arguments: [1, 3])
  func `the model's rotations and a call's own give the same bits, request after request`(threads: Int) throws {
    var random = SeededRandom(15)
    let (settled, functions) = Self.settled(&random)
    let store = try store(settled)
    for layer in 0..<2 {
      let own = functions[layer]
      let requests = (0..<40).map { place in
        AttendRequest(
          user: 1, queries: random.numbers(2 * settled.shape.layers[layer].key.width), positions: [place + 1, 40])
      }
      let pairs: [(Attention, Attention)] = [
        (.simhash(top: 7), .simhash(top: 7, rotations: own.rotations)), (.sdim(), .sdim(rotations: own.groups)),
        (.sdimSum(), .sdimSum(rotations: own.groups)),
      ]
      for (brief, full) in pairs {
        // One request alone goes without a table; after some there is one.
        let alone = try requests.map { try store.attend([$0], layer: layer, full)[0].output }
        for attention in [brief, full] {
          let outputs = try store.attend(requests, layer: layer, attention, threads: threads).map(\.output)
          #expect(outputs == alone, "\(attention)")
        }
      }
    }
  }

  @Test func `a parameter that comes from nowhere is an error of the whole call`() throws {
    let store = try store()
    let cases: [(Attention, String)] = [
      (
        .simhash(top: 1),
        "simhash needs rotations: the call brings none, and the model has no layers.1.rotations.simhash"
      ),
      (.sdim(), "sdim needs rotations: the call brings none, and the model has no layers.1.rotations.sdim"),
      (.sdimSum(), "sdim needs rotations: the call brings none, and the model has no layers.1.rotations.sdim"),
      (.silu(), "silu needs a divisor: neither the call nor the model brings one for layer 1"),
      (.siluBias([]), "silu needs a divisor: neither the call nor the model brings one for layer 1"),
    ]
    for (attention, message) in cases {
      let error = thrown { () throws(StoreError) in _ = try store.attend([], layer: 1, attention) }
      #expect(reason(error) == message)
    }
  }

  @Test func `a parameter out of its range is an error of the whole call`() throws {
    let store = try store()
    var cases: [(Attention, String)] = [
      (.select(top: 1, layer: 3), "layer 3 does not exist: the model has 3"),
      (.select(top: 1, layer: -1), "layer -1 does not exist: the model has 3"),
      (
        .simhash(top: 1, rotations: Rotations([1, 2], bits: 1)),
        "2 numbers for 1 groups of 1 rotations of 8, at most 1048576 in all"
      ),
      (
        .simhash(top: 1, rotations: Rotations(Array(repeating: 1, count: 16), groups: 2, bits: 1)),
        "2 groups of rotations; simhash takes one"
      ),
      (
        .sdim(rotations: Rotations([Float](repeating: 1, count: 7) + [.nan], bits: 1)), "rotation 0 holds nan at 7"
      ),
      (.siluBias([0, .infinity], divisor: 1), "the position bias holds inf at 1"),
    ]
    for top in [0, -1, Int.min] {
      let rotations = Rotations(Array(repeating: 1, count: 8), bits: 1)
      for attention in [Attention.topk(top: top), .select(top: top), .simhash(top: top, rotations: rotations)] {
        cases.append((attention, "a top of \(top) positions; at least 1 is needed"))
      }
    }
    for divisor in [0, Float.nan, .infinity] {
      cases.append((.silu(divisor: divisor), "a divisor of \(divisor); a finite number other than 0 is needed"))
    }
    for (attention, message) in cases {
      let error = thrown { () throws(StoreError) in _ = try store.attend([], attention) }
      #expect(reason(error) == message)
    }
  }

  // MARK: Requests

  @Test func `every function answers each request of a batch on its own`() throws {
    var random = SeededRandom(7)
    let store = try store()
    try store.append(user: 2, embeddings: random.numbers(3 * 3 * 6))
    let every = EveryFunction(width: 8, bias: 40, &random)
    let query = random.numbers(2 * 8)
    let search = random.numbers(2 * 8)
    for attention in every.all(top: 5, searching: 2) {
      var bad = search
      bad[9] = .nan
      let responses = try store.attend(
        [
          AttendRequest(user: 1, queries: query, selectQueries: search),
          AttendRequest(user: 3, queries: query, selectQueries: search),
          AttendRequest(user: 2, queries: query, positions: [0, 3], selectQueries: search),
          AttendRequest(user: 1, queries: query.map { _ in .infinity }, selectQueries: search),
          AttendRequest(user: 1, queries: query, positions: [41, 1], selectQueries: search),
          AttendRequest(user: 1, queries: query, selectQueries: bad),
          AttendRequest(user: 1, queries: query, selectQueries: Array(search.dropLast())),
          AttendRequest(user: 1, queries: query),
          AttendRequest(user: 2, queries: [], selectQueries: []),
        ], attention)
      #expect(responses[1].error == .unknownUser(3))
      #expect(reason(responses[3].error).contains("inf"))
      #expect(reason(responses[4].error) == "user 1: position 41 is beyond the length 40")
      if case .select = attention.kind {
        #expect(reason(responses[5].error) == "search query at row 1 holds nan at 1")
        #expect(reason(responses[6].error) == "15 search query numbers for 2 queries of 8")
        #expect(reason(responses[7].error) == "select needs search queries")
      } else {
        #expect(responses[5...7].allSatisfy { $0.error == nil && $0.output == responses[0].output })
      }
      for place in [0, 2, 8] { #expect(responses[place].error == nil, "\(attention.kind)") }
      #expect(responses[2].output.prefix(8).allSatisfy { $0 == 0 })
      #expect(responses[8].output == [])
      let alone = try store.attend(query, user: 2, attention, positions: [0, 3], selectQueries: search)
      expectSame(difference(responses[2].output, alone))
    }
  }

  @Test func `a stale user is an error, whatever the function`() throws {
    var random = SeededRandom(8)
    try store().close()
    let other = TestModel(Self.model.shape, seed: 2)
    let file = directory.file("other.safetensors")
    try other.write(to: file)
    try CacheStore.replaceModel(at: directory.file("shop.ckv"), with: file)
    let store = try CacheStore.open(at: directory.file("shop.ckv"))
    let every = EveryFunction(width: 8, bias: 40, &random)
    for attention in every.all(top: 5, searching: 2) {
      let error = thrown { () throws(StoreError) in
        _ = try store.attend(random.numbers(8), user: 1, attention, selectQueries: random.numbers(8))
      }
      #expect(error == .staleUser(1), "\(attention.kind)")
    }
  }

  @Test func `a bias has to reach as far as the queries see`() throws {
    let store = try store()
    let query = [Float](repeating: 0.5, count: 8)
    let short = Attention.siluBias(Array(repeating: 1, count: 39), divisor: 1)
    let error = thrown { () throws(StoreError) in _ = try store.attend(query, user: 1, short) }
    #expect(reason(error) == "39 position biases for a query that sees 40 positions")
    #expect(try store.attend(query, user: 1, short, positions: [39]).contains { $0 != 0 })
  }

  @Test(arguments: 1...6)
  func `positions and windows are a shorter history, whatever the function`(seed: Int) throws {
    var random = SeededRandom(seed)
    let store = try store(length: 40)
    let entries = try store.entries(of: 1)
    let every = EveryFunction(width: 8, bias: 40, &random)
    let (query, search) = (random.numbers(8), random.numbers(8))
    let high = 1 + random.below(40)
    let window = 1 + random.below(40)
    let low = max(0, high - window)
    // The same positions as a history of their own.
    var part = Entries(
      count: high - low, layers: Self.model.shape.layers.map { LayerEntries(zeroed: $0, count: high - low) })
    part.replace(from: 0, with: entries, low..<high)
    try store.append(user: 9, entries: part)
    for layer in [nil, 1, 2] {
      let search = layer == 1 ? Array(search.prefix(6)) : search
      for attention in every.all(top: 1 + random.below(12), searching: layer) {
        var seen = attention
        seen.window = window
        let cut = try store.attend(query, user: 1, seen, positions: [high], selectQueries: search)
        let whole = try store.attend(query, user: 9, attention, selectQueries: search)
        // Fewer positions may be read on the other path: equal, but not to the bit.
        expectSame(difference(cut, whole.map(Double.init), within: 1e-5), "seed \(seed), \(attention.kind)")
      }
    }
  }
}
