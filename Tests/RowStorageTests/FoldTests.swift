import CacheTypes
import RowStorage
import Testing

struct FoldTests {
  @Test(arguments: 0..<25)
  func `a fold at any moment changes no history`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let sample = try SampleStore(columns: [.items])
    let store = try sample.open()
    let side = try SideDatabase(sample.path)
    var histories: [UserID: [UInt32]] = [:]
    for step in 0..<40 {
      let user = OverlayTests.user(Int.random(in: 0..<5, using: &random))
      let run = (0..<UInt32.random(in: 1...7, using: &random)).map { UInt32(step) * 10 + $0 }
      histories[user, default: []] += run
      try store.append(user, run)
      if Int.random(in: 0..<4, using: &random) == 0 {
        let tailRows = try side.integer("SELECT count(*) FROM tail")
        #expect(try store.fold() == tailRows)
        #expect(try side.integer("SELECT count(*) FROM tail") == 0)
        #expect(try side.integer("SELECT next_seq - 1 - folded_seq FROM meta") == 0)
        #expect(try store.fold() == 0)
        for (user, history) in histories { #expect(try store.holds(user, history), "seed \(seed), step \(step)") }
      }
    }
    #expect(try store.problems() == [])
  }

  @Test func `a fold fills the open block and leaves one open block per user`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let capacity = StraightRunTests.capacity
    let side = try SideDatabase(sample.path)
    for length in 1...3 * capacity + 1 {
      try store.append(5, [UInt32(length)])
      try store.fold()
      var expected: [String] = []
      for first in stride(from: 0, to: length, by: capacity) {
        expected.append("\(first)|\(min(capacity, length - first))")
      }
      #expect(try side.rows("SELECT place & 4294967295, count FROM block ORDER BY place") == expected)
    }
  }

  @Test func `sequence numbers are never used twice`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    let side = try SideDatabase(sample.path)
    var seen: Set<Int> = []
    for step in 0..<30 {
      try (step % 2 == 0 ? a : b).append(.integer(Int64(step % 3)), [UInt32(step)])
      let seq = try side.integer("SELECT max(seq) FROM tail")
      #expect(seen.insert(seq).inserted)
      if step % 4 == 3 { try (step % 8 == 3 ? a : b).fold() }
      if step % 9 == 8 { _ = try a.delete(.integer(Int64(step % 3))) }
    }
  }

  @Test func `more users than a slice takes are folded`() throws {
    let sample = try SampleStore(Sample.plain)
    let store = try sample.open()
    let count = 700
    let tags = (0..<UInt32(count)).map { $0 }
    let runs = (0..<count).map { Run(user: OverlayTests.user($0), rows: $0..<$0 + 1) }
    for _ in 0..<3 { _ = try store.append(Sample.entries(tags, Sample.plain), runs) }
    #expect(try store.fold() == 3 * count)
    for number in stride(from: 0, to: count, by: 13) {
      #expect(try store.holds(OverlayTests.user(number), Array(repeating: UInt32(number), count: 3)))
    }
    #expect(try store.problems() == [])
  }

  @Test func `a fold beside a writer that goes on ends`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    for number in 0..<50 { try a.append(.integer(Int64(number)), [1]) }
    // Every append of `b` wakes the tail again; the fold takes what was there when it was called.
    GroupCommitTests.onThreads(2) { number in
      if number == 0 {
        for step in 0..<300 { _ = try? b.append(.integer(Int64(step % 60)), [2]) }
      } else {
        for _ in 0..<3 { _ = try? a.fold() }
      }
    }
    #expect(try a.fold() >= 0)
    #expect(try a.problems() == [])
    #expect(try b.statistics().positions == 350)
  }
}
