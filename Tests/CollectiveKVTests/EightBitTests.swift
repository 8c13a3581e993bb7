/// Eight-bit user parts: within half a step of what arrived, per dimension and row, and rounded once.

import CollectiveKV
import Testing

struct EightBitTests {
  private let random = SeededRandom(5)
  private let model = TestModel(
    TestModel.shape([
      TestModel.plainLayer, LayerShape(key: TestModel.part(3, 5, 20), value: TestModel.part(1, 3, 20), heads: 1),
    ]))

  /// Half of the step that a row has for these numbers, which are f16 already.
  private func halfStep(_ numbers: [Double]) -> Double {
    let (low, high) = (numbers.min() ?? 0, numbers.max() ?? 0)
    let offset = Double(Float16((low + high) / 2))
    let exact = max(high - offset, offset - low) / 127
    var scale = Float16(exact)
    if Double(scale) < exact { scale = scale.nextUp }
    // What 32-bit arithmetic adds.
    return Double(scale) / 2 + 1e-5 * exact
  }

  /// The user parts of one side, dimension by dimension.
  private func columns(_ kept: [Kept], _ layer: Int, _ side: KeyPath<Kept.Layer, [Double]>) -> [[Double]] {
    let rows = kept.map { $0.layers[layer][keyPath: side] }
    return (rows.first ?? []).indices.map { dimension in rows.map { $0[dimension] } }
  }

  /// Compares stored entries with what arrived. `rows` are the stretches that were quantised together; positions
  /// outside of them are what f16 makes of them. A run that goes straight to blocks is quantised as it is, others
  /// after they were f16: a number may be off by that rounding as well.
  private func difference(_ entries: Entries, _ events: [Event], rows: [Range<Int>]) -> String? {
    let exact = events.map { Reference(model).kept($0, as: .f32) }
    let rounded = events.map { Reference(model).kept($0, as: .f16) }
    guard entries.count == events.count else { return "\(entries.count) positions, expected \(events.count)" }
    for number in entries.layers.indices {
      let layer = entries.layers[number]
      guard layer.keyIndices == exact.map({ UInt32($0.layers[number].keyIndex) }),
        layer.valueIndices == exact.map({ UInt32($0.layers[number].valueIndex) })
      else { return "indices of layer \(number) differ" }
      for (seen, side) in [(layer.keyUser, \Kept.Layer.keyUser), (layer.valueUser, \Kept.Layer.valueUser)] {
        let expected = zip(columns(exact, number, side), columns(rounded, number, side))
        for (dimension, (exact, rounded)) in expected.enumerated() {
          for position in events.indices {
            let number = Double(seen[dimension * events.count + position])
            var bound = 0.0
            if let row = rows.first(where: { $0.contains(position) }) {
              bound = max(halfStep(Array(exact[row])), halfStep(Array(rounded[row])))
              bound += (exact[position] - rounded[position]).magnitude
            }
            guard (number - rounded[position]).magnitude <= bound else {
              return "position \(position), dimension \(dimension): \(number), expected \(rounded[position]) ± \(bound)"
            }
          }
        }
      }
    }
    return nil
  }

  @Test func `full blocks are within half a step per row and the open last block is exact`() throws {
    var random = random
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(model, .init(element: .i8, pageByteCount: 4_096, durability: .normal))
    let capacity = try store.statistics().blockCapacity
    let events = Reference(model).events(3 * capacity + capacity / 2, &random)
    try store.append([AppendRequest(events, user: 1)])
    let rows = (0..<3).map { $0 * capacity..<($0 + 1) * capacity }
    expectSame(difference(try store.entries(of: 1), events, rows: rows))
    #expect(try store.entries(of: 1) != store.entries(of: 1, positions: 0..<capacity))
    let exact = difference(try store.entries(of: 1), events, rows: [])
    #expect(exact != nil, "nothing was quantised")
  }

  @Test func `vacuum quantises the open last block too`() throws {
    var random = random
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(model, .init(element: .i8, pageByteCount: 4_096, durability: .normal))
    let events = Reference(model).events(try store.statistics().blockCapacity / 2, &random)
    for event in events { try store.append([AppendRequest([event], user: 1)]) }
    expectSame(difference(try store.entries(of: 1), events, rows: []))
    try store.fold()
    expectSame(difference(try store.entries(of: 1), events, rows: []), "a fold leaves the open block alone")
    _ = try store.vacuum()
    expectSame(difference(try store.entries(of: 1), events, rows: [0..<events.count]))
    #expect(difference(try store.entries(of: 1), events, rows: []) != nil, "nothing was quantised")
  }

  @Test(arguments: 1...15)
  func `however a history arrives, every number is within half a step of its whole span`(seed: Int) throws {
    var random = SeededRandom(seed)
    let directory = try TemporaryDirectory()
    var store = try directory.makeStore(model, .init(element: .i8, pageByteCount: 4_096, durability: .normal))
    let events = Reference(model).events(1 + random.below(200), &random)
    var length = 0
    while length < events.count {
      let count = min(events.count - length, random.chance(20) ? 100 : 1 + random.below(15))
      try store.append([AppendRequest(events[length..<length + count], user: 1, expecting: length)])
      length += count
      switch random.below(8) {
      case 0, 1: try store.fold()
      case 2: _ = try store.vacuum()
      case 3: store = try CacheStore.open(at: store.path)
      default: break
      }
    }
    let whole = [0..<events.count]
    expectSame(difference(try store.entries(of: 1), events, rows: whole), "seed \(seed)")
    _ = try store.vacuum()
    expectSame(difference(try store.entries(of: 1), events, rows: whole), "seed \(seed), after vacuum")
    let final = try store.entries(of: 1)
    for _ in 0..<3 { _ = try store.vacuum() }
    try store.fold()
    #expect(try store.entries(of: 1) == final, "seed \(seed): quantised twice")
  }
}
