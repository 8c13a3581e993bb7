/// Batches over threads: the same bits whatever their number, errors with the request that they belong to, outputs in
/// the caller's memory.

import CollectiveKV
import Testing

struct BatchTests {
  /// Users of different lengths, some of them unknown, and requests of one to three queries each, some of them bad.
  private struct Setting {
    let directory: TemporaryDirectory
    let store: CacheStore
    let layer: Int
    var requests: [AttendRequest] = []

    init?(seed: Int, requests count: Int = 60) throws {
      var random = SeededRandom(seed)
      let model = TestModel.random(seed: seed)
      guard let layer = model.shape.layers.lastIndex(where: { $0.value != nil }) else { return nil }
      self.layer = layer
      directory = try TemporaryDirectory()
      store = try directory.makeStore(model)
      let reference = Reference(model)
      let width = model.shape.layers[layer].key.width
      for user in 0..<12 {
        try store.append([AppendRequest(reference.events(1 + random.below(120), &random), user: .integer(Int64(user)))])
      }
      for _ in 0..<count {
        // Users 12 to 14 are unknown.
        var queries = random.numbers((1 + random.below(3)) * width)
        if random.chance(5) { queries[0] = .infinity }
        if random.chance(5) { queries.append(1) }
        requests.append(AttendRequest(user: .integer(Int64(random.below(15))), queries: queries))
      }
    }
  }

  private static func isSame(_ one: [AttendResponse], _ other: [AttendResponse]) -> Bool {
    one.count == other.count
      && zip(one, other).allSatisfy {
        difference($0.output, $1.output) == nil && $0.length == $1.length && $0.error == $1.error
      }
  }

  @Test(arguments: 1...12)
  func `two and seven threads answer with the bits of one, request by request`(seed: Int) throws {
    guard let setting = try Setting(seed: seed) else { return }
    let alone = try setting.store.attend(setting.requests, layer: setting.layer)
    #expect(alone.contains { $0.error == nil })
    #expect(alone.contains { $0.error != nil })
    for (request, response) in zip(setting.requests, alone) where response.error == nil {
      let single = try setting.store.attend(request.queries, user: request.user, layer: setting.layer)
      expectSame(difference(response.output, single))
    }
    for threads in [2, 7, 200] {
      let shared = try setting.store.attend(setting.requests, layer: setting.layer, threads: threads)
      #expect(Self.isSame(shared, alone), "seed \(seed), \(threads) threads")
    }
  }

  @Test(arguments: [0, -1, Int.min])
  func `fewer than one thread is refused`(threads: Int) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.plain)
    let error = thrown { () throws(StoreError) in _ = try store.attend([], threads: threads) }
    #expect(reason(error) == "\(threads) threads; at least 1 is needed")
  }

  @Test(arguments: [1, 3])
  func `a batch of nothing is answered with nothing and a closed store with an error`(threads: Int) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.plain)
    #expect(try store.attend([], threads: threads).isEmpty)
    try store.close()
    let request = AttendRequest(user: 1, queries: [])
    let error = thrown { () throws(StoreError) in _ = try store.attend([request, request], threads: threads) }
    #expect(error == .closed)
  }

  @Test(arguments: 1...6, [ElementType.f32, .f16, .bf16])
  func `outputs in the caller's memory are the rounded responses, and failed requests are zeros`(
    seed: Int, element: ElementType
  ) throws {
    guard let setting = try Setting(seed: seed) else { return }
    let shape = setting.store.model.shape.layers[setting.layer]
    let width = try #require(shape.value?.width)
    let alone = try setting.store.attend(setting.requests, layer: setting.layer)
    let rowCount = setting.requests.reduce(0) { $0 + $1.queries.count / shape.key.width }
    let rowByteCount = width * element.byteCount + 3
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: rowCount * rowByteCount, alignment: 16)
    defer { memory.deallocate() }
    for threads in [1, 2, 7] {
      for place in memory.indices { memory[place] = 0xAB }
      let statuses = try setting.store.attend(
        setting.requests, layer: setting.layer,
        into: RowDestination(memory, rowByteCount: rowByteCount, element: element), threads: threads)
      #expect(statuses.map(\.length) == alone.map(\.length))
      #expect(statuses.map(\.error) == alone.map(\.error))
      var row = 0
      for (place, status) in statuses.enumerated() {
        #expect(status.rows == row..<row + setting.requests[place].queries.count / shape.key.width)
        for number in status.rows {
          let start = memory.baseAddress! + number * rowByteCount
          for column in 0..<width {
            let wanted =
              status.error == nil ? alone[place].output[(number - row) * width + column] : 0
            #expect(Self.read(start, column, element) == element.rounded(wanted))
          }
          #expect((0..<3).allSatisfy { start.load(fromByteOffset: rowByteCount - 3 + $0, as: UInt8.self) == 0xAB })
        }
        row = status.rows.upperBound
      }
      #expect(row == rowCount)
    }
  }

  private static func read(_ start: UnsafeMutableRawPointer, _ column: Int, _ element: ElementType) -> Float {
    switch element {
    case .f32: start.loadUnaligned(fromByteOffset: column * 4, as: Float.self)
    case .bf16:
      Float(bitPattern: UInt32(start.loadUnaligned(fromByteOffset: column * 2, as: UInt16.self)) << 16)
    case .f16, .i8: Float(Float16(bitPattern: start.loadUnaligned(fromByteOffset: column * 2, as: UInt16.self)))
    }
  }

  @Test func `memory that does not hold the outputs is refused before anything is written`() throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.plain)
    try store.append(user: 1, embeddings: Array(repeating: 1, count: 12))
    let requests = [AttendRequest(user: 1, queries: Array(repeating: 1, count: 24))]
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 24 * 4, alignment: 4)
    defer { memory.deallocate() }
    for place in memory.indices { memory[place] = 7 }
    let short = UnsafeMutableRawBufferPointer(rebasing: memory[..<95])
    for destination in [
      RowDestination(short, element: .f32), RowDestination(memory, rowByteCount: 31, element: .f32),
      RowDestination(memory, rowByteCount: 33, element: .f32), RowDestination(memory, element: .i8),
    ] {
      let error = thrown { () throws(StoreError) in _ = try store.attend(requests, into: destination) }
      #expect(reason(error).hasPrefix("outputs"))
      #expect(memory.allSatisfy { $0 == 7 })
    }
    #expect(try store.attend(requests, into: RowDestination(memory, element: .f32)).map(\.error) == [nil])
  }
}
