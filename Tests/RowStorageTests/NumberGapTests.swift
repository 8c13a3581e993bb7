import CacheTypes
import RowStorage
import Testing

/// Counters that say of more numbers than anybody could count through.
struct NumberGapTests {
  @Test(.timeLimit(.minutes(1)), arguments: [1 << 20, 1 << 33, 1 << 60])
  func `a fold steps over numbers that no row has`(gap: Int) throws {
    let sample = try SampleStore()
    var histories: [UserID: [UInt32]] = [:]
    do {
      let store = try sample.open()
      for step in 0..<UInt32(6) {
        let user = OverlayTests.user(Int(step % 2))
        histories[user, default: []].append(step)
        try store.append(user, [step])
      }
      try store.close()
      let side = try SideDatabase(sample.path)
      // The last two rows, and the next number, a long way behind the others and from one another.
      try side.execute("UPDATE tail SET seq = \(2 * gap) WHERE seq = (SELECT max(seq) FROM tail)")
      try side.execute("UPDATE tail SET seq = \(gap) WHERE seq = (SELECT max(seq) FROM tail WHERE seq < \(gap))")
      try side.execute("UPDATE meta SET next_seq = \(3 * gap)")
    }
    let store = try sample.open()
    #expect(try store.fold() == 6)
    for (user, history) in histories { #expect(try store.holds(user, history)) }
    #expect(try store.problems() == [])
    #expect(try SideDatabase(sample.path).integer("SELECT next_seq - 1 - folded_seq FROM meta") == 0)
    try store.append(77, [1])
    try store.fold()
    #expect(try store.holds(77, [1]))
  }

  @Test func `positions beyond counting are damage to whoever computes sizes`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(1, [1])
    try SideDatabase(sample.path).execute("UPDATE meta SET positions = \(1 << 61)")
    #expect(throws: StoreError.self) { try store.statistics() }
    #expect(try store.holds(1, [1]))
  }
}
