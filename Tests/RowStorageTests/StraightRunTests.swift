import CacheTypes
import RowStorage
import Testing

/// Runs as long as a block go straight to blocks.
struct StraightRunTests {
  static let capacity = RowLayout(shape: Sample.wide, element: .f32, columns: []).blockCapacity(pageByteCount: 4_096)

  @Test func `runs of every length around a block, before and after tail rows and open blocks`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    var user: Int64 = 0
    var tag: UInt32 = 0
    for before in 0...Self.capacity + 1 {
      for folds in [false, true] {
        for length in [Self.capacity - 1, Self.capacity, Self.capacity + 1, 3 * Self.capacity, 3 * Self.capacity + 2] {
          user += 1
          var history: [UInt32] = []
          for _ in 0..<before {
            history.append(tag)
            try store.append(.integer(user), [tag])
            tag += 1
          }
          if folds { try store.fold() }
          let run = (0..<UInt32(length)).map { tag + $0 }
          tag += UInt32(length)
          #expect(try store.append(.integer(user), run) == before + length)
          history += run
          #expect(try store.holds(.integer(user), history), "\(before) before, folded: \(folds), a run of \(length)")
          history.append(tag)
          #expect(try store.append(.integer(user), [tag]) == history.count)
          tag += 1
          #expect(try store.holds(.integer(user), history))
        }
      }
    }
    #expect(try store.problems() == [])
    try store.fold()
    #expect(try store.problems() == [])
  }

  @Test func `a long run leaves a marker that is no data`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let side = try SideDatabase(sample.path)
    try store.append(5, Array(0..<UInt32(Self.capacity)))
    #expect(try side.rows("SELECT position, count, payload FROM tail") == ["\(Self.capacity)|0|x"])
    #expect(try side.rows("SELECT place & 4294967295, count FROM block") == ["0|\(Self.capacity)"])
  }

  @Test(arguments: 0..<60)
  func `long and short runs of the same users in one batch`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let sample = try SampleStore()
    let store = try sample.open()
    var histories: [UserID: [UInt32]] = [:]
    var tag: UInt32 = 0
    for _ in 0..<4 {
      var tags: [UInt32] = []
      var runs: [Run] = []
      var lengths: [Int] = []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let user = UserID.integer(Int64.random(in: 0..<3, using: &random))
        let count =
          Bool.random(using: &random)
          ? Int.random(in: 1..<Self.capacity, using: &random) : Int.random(in: 0...3 * Self.capacity, using: &random)
        let run = (0..<UInt32(count)).map { tag + $0 }
        tag += UInt32(count)
        runs.append(Run(user: user, rows: tags.count..<tags.count + count))
        tags += run
        if count > 0 { histories[user, default: []] += run }
        lengths.append(histories[user, default: []].count)
      }
      let got = try store.append(Sample.entries(tags, Sample.wide), runs)
      #expect(got == lengths, "seed \(seed)")
      for (user, history) in histories {
        #expect(try store.holds(user, history), "seed \(seed), user \(user), runs \(runs)")
      }
      if Bool.random(using: &random) { try store.fold() }
    }
    #expect(try store.problems() == [], "seed \(seed)")
  }

  @Test(arguments: ElementType.allCases, [1, 2])
  func `positions of next to no bits stay within what a row may hold`(element: ElementType, poolRows: Int) throws {
    let shape = ModelShape(
      embeddingWidth: 8, layers: [LayerShape(key: Sample.part(0, 6, poolRows), value: nil, heads: 1)])
    let sample = try SampleStore(shape, element: element, pageByteCount: 65_536)
    let store = try sample.open()
    var tags = (0..<140_000).map { UInt32($0) }
    try store.append(5, tags)
    try store.append(5, Array(tags.prefix(70_000)))
    tags += tags.prefix(70_000)
    #expect(try store.holds(5, tags))
    try store.fold()
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try store.holds(5, tags))
    #expect(try store.problems() == [])
  }
}
