import CacheTypes
import RowStorage
import Testing

/// Random operations against a dictionary. Blocks hold four positions in f32, so that they fill up all the time.
struct RandomOperationTests {
  static let seedCount = 2_000
  static let stepCount = 34

  /// Seeds in groups: one test case each would cost more than what it tests.
  @Test(arguments: 0..<40)
  func `random operations do what they do to a dictionary`(group: Int) throws {
    for seed in stride(from: group, to: Self.seedCount, by: 40) {
      var run = try OperationRun(seed: UInt64(seed))
      do {
        for _ in 0..<Self.stepCount { try run.step() }
        try run.checkEverything()
      } catch { Issue.record("\(run.place): \(error)") }
      run.sample.folder.remove()
    }
  }
}

/// One seed's store and what it must hold.
private struct OperationRun {
  let seed: UInt64
  let sample: SampleStore
  var random: SplitMix64
  var stores: [RowStore]
  var histories: [UserID: [UInt32]] = [:]
  var tag: UInt32 = 0
  var stepNumber = 0
  var lastOperation = ""

  var place: String { "seed \(seed), step \(stepNumber), \(lastOperation)" }

  init(seed: UInt64) throws {
    self.seed = seed
    random = SplitMix64(seed: seed)
    let element: ElementType = [.f32, .f32, .f16, .bf16].randomElement(using: &random)!
    sample = try SampleStore(Sample.wide, element: element, columns: seed % 4 == 0 ? [.items, .timestamps] : [])
    stores = [try sample.open()]
  }

  mutating func pick(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }
  mutating func store() -> RowStore { stores[pick(0..<stores.count)] }
  mutating func user() -> UserID { OverlayTests.user(pick(0..<5)) }

  mutating func tags(_ count: Int) -> [UInt32] {
    defer { tag += UInt32(count) }
    return (0..<UInt32(count)).map { tag + $0 }
  }

  mutating func expect(_ isTrue: Bool, _ what: String) { #expect(isTrue, "\(place): \(what)") }

  mutating func step() throws {
    stepNumber += 1
    let operation = pick(0..<100)
    switch operation {
    case 0..<32: try append()
    case 32..<42: try appendBatch()
    case 42..<52: try appendExpecting()
    case 52..<57: try delete()
    case 57..<67: try read()
    case 67..<77: try readRange()
    case 77..<87: try fold()
    case 87..<90: try vacuum()
    case 90..<94: try reopen()
    default: try changeStores()
    }
  }

  private mutating func append() throws {
    let (store, user) = (store(), user())
    let run = tags(pick(0..<6) == 0 ? pick(0..<15) : pick(1..<4))
    lastOperation = "append \(run.count) to \(user)"
    let length = try store.append(user, run)
    if !run.isEmpty { histories[user, default: []] += run }
    expect(length == histories[user, default: []].count, "length \(length)")
  }

  private mutating func appendBatch() throws {
    let store = store()
    var runs: [Run] = []
    var all: [UInt32] = []
    var lengths: [Int] = []
    for _ in 0..<pick(1..<6) {
      let user = user()
      let run = tags(pick(0..<8))
      runs.append(Run(user: user, rows: all.count..<all.count + run.count))
      all += run
      if !run.isEmpty { histories[user, default: []] += run }
      lengths.append(histories[user, default: []].count)
    }
    lastOperation = "batch \(runs.map { ($0.user, $0.rows.count) })"
    let found = try store.append(Sample.entries(all, sample.shape, columns: sample.columns), runs)
    expect(found == lengths, "lengths \(found)")
  }

  private mutating func appendExpecting() throws {
    let (store, user, skips) = (store(), user(), Bool.random(using: &random))
    let length = histories[user, default: []].count
    let expected = max(0, length + pick(-4..<3))
    var run = tags(pick(0..<7))
    // A repeat brings what is there already.
    for place in run.indices where expected + place < length { run[place] = histories[user]![expected + place] }
    lastOperation = "append \(run.count) to \(user) at \(expected), skips \(skips), length \(length)"
    do {
      let got = try store.append(user, run, expecting: expected, skipsRepeats: skips)
      let isAllowed = expected == length || (skips && expected < length)
      expect(isAllowed, "was accepted")
      let fresh = run.dropFirst(length - expected)
      if !fresh.isEmpty { histories[user, default: []] += fresh }
      expect(got == histories[user, default: []].count, "length \(got)")
    } catch StoreError.positionConflict(_, _, let seen) {
      expect(seen == length && expected != length && !(skips && expected < length), "was refused at length \(seen)")
    }
  }

  private mutating func delete() throws {
    let (store, user) = (store(), user())
    lastOperation = "delete \(user)"
    let length = histories.removeValue(forKey: user)?.count
    do {
      let positions = try store.delete(user).positions
      expect(positions == length, "\(positions) positions")
    } catch StoreError.unknownUser { expect(length == nil, "unknown") }
  }

  private mutating func read() throws {
    let (store, user) = (store(), user())
    lastOperation = "read \(user)"
    let history = histories[user, default: []]
    let isServed = Bool.random(using: &random)
    expect(try isServed ? store.serves(user, history) : store.holds(user, history), "differs, served: \(isServed)")
  }

  private mutating func readRange() throws {
    let (store, user) = (store(), user())
    guard let history = histories[user] else { return }
    let from = pick(0..<history.count + 2)
    let range = from..<from + pick(0..<9)
    lastOperation = "read \(range) of \(user)"
    let rows = try store.read(user, .range(range))
    let clamped = range.clamped(to: 0..<history.count)
    expect(rows.length == history.count && rows.positions == clamped, "\(rows.positions) of \(rows.length)")
    expect(rows.entries == Sample.entries(Array(history[clamped]), sample.shape, columns: sample.columns), "differs")
    let served = try store.history(user, .range(range))
    let isEnough =
      served.positions.lowerBound <= clamped.lowerBound && clamped.upperBound <= served.positions.upperBound
    expect(served.length == history.count && isEnough, "serves \(served.positions) of \(served.length)")
    let expected = Sample.entries(Array(history[served.positions]), sample.shape)
    expect(served.entries.layers == expected.layers, "serves others")
  }

  private mutating func fold() throws {
    lastOperation = "fold"
    try store().fold()
  }

  private mutating func vacuum() throws {
    let element: ElementType? = [nil, .f32, .f16, .bf16].randomElement(using: &random)!
    lastOperation = "vacuum \(String(describing: element))"
    _ = try store().vacuum(VacuumPlan(element: element)) { _, _ in }
  }

  private mutating func reopen() throws {
    let place = pick(0..<stores.count)
    lastOperation = "reopen \(place)"
    if Bool.random(using: &random) { try stores[place].close() }
    stores[place] = try sample.open()
  }

  private mutating func changeStores() throws {
    lastOperation = "\(stores.count) stores"
    if stores.count == 1 { stores.append(try sample.open()) } else { try stores.removeLast().close() }
  }

  mutating func checkEverything() throws {
    lastOperation = "the end"
    for store in stores {
      for (user, history) in histories {
        expect(try store.serves(user, history), "\(user) is served otherwise")
        expect(try store.holds(user, history), "\(user) differs")
      }
      expect(try store.users() == histories.keys.sorted(), "users differ")
    }
    let problems = try stores[0].problems()
    expect(problems == [], "\(problems)")
    let positions = try stores[0].statistics().positions
    expect(positions == histories.values.reduce(0) { $0 + $1.count }, "\(positions) positions")
  }
}
