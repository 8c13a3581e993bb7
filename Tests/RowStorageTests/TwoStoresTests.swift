import CacheTypes
import RowStorage
import Testing

/// Two objects on one database know no more of each other than two processes do.
struct TwoStoresTests {
  @Test func `lengths are right after another store appended and folded`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    try a.append(5, [1, 2])
    try a.fold()
    #expect(try a.append(5, []) == 2)  // a remembers the length now
    try b.append(5, [3])
    try b.fold()
    #expect(try a.append(5, [4]) == 4)
    #expect(try a.holds(5, [1, 2, 3, 4]))
    #expect(try b.holds(5, [1, 2, 3, 4]))
    #expect(try b.problems() == [])
  }

  @Test func `lengths are right after another store deleted`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    for folds in [false, true] {
      try a.append(5, [1, 2])
      if folds { try a.fold() }
      #expect(try b.delete(5).positions == 2)
      #expect(throws: StoreError.unknownUser(5)) { try a.length(of: 5) }
      #expect(try a.append(5, [7]) == 1)
      #expect(try b.holds(5, [7]))
      _ = try b.delete(5)
      #expect(throws: StoreError.unknownUser(5)) { try b.delete(5) }
      #expect(throws: StoreError.unknownUser(5)) { try a.delete(5) }
    }
  }

  @Test func `a read goes on after another store folded or deleted`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    try a.append(5, [1, 2])
    try a.append(6, [3])
    try a.withSnapshot { (snapshot) throws(StoreError) in
      _ = try snapshot.read(5)
      try b.fold()
      // The index of the tail in `a` is still that of this snapshot: the other store's fold is not seen yet.
      let rows = try snapshot.read(6)
      #expect(rows.entries == Sample.entries([3], Sample.wide))
    }
    try a.withSnapshot { (snapshot) throws(StoreError) in
      _ = try b.delete(6)
      let rows = try snapshot.read(5)
      #expect(rows.entries == Sample.entries([1, 2], Sample.wide))
    }
    #expect(throws: StoreError.unknownUser(6)) { try a.read(6) }
  }

  @Test(arguments: 0..<30)
  func `two stores in turns`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let sample = try SampleStore()
    let stores = [try sample.open(), try sample.open()]
    var histories: [UserID: [UInt32]] = [:]
    var tag: UInt32 = 0
    for step in 0..<60 {
      let store = stores[Int.random(in: 0...1, using: &random)]
      let user = UserID.integer(Int64.random(in: 0..<4, using: &random))
      switch Int.random(in: 0..<12, using: &random) {
      case 0..<7:
        let run = (0..<UInt32.random(in: 1...9, using: &random)).map { tag + $0 }
        tag += 9
        histories[user, default: []] += run
        let length = try store.append(user, run)
        #expect(length == histories[user]!.count, "seed \(seed), step \(step)")
      case 7, 8: try store.fold()
      case 9:
        if histories.removeValue(forKey: user) != nil { _ = try store.delete(user) }
      case 10: _ = try store.vacuum(VacuumPlan()) { _, _ in }
      default: break
      }
      // Not after each step: a store that has not looked for a while has the more to catch up with.
      guard Int.random(in: 0..<4, using: &random) == 0 else { continue }
      let reader = stores[Int.random(in: 0...1, using: &random)]
      #expect(try reader.holds(user, histories[user, default: []]), "seed \(seed), step \(step)")
    }
    for (user, history) in histories {
      for store in stores { #expect(try store.holds(user, history), "seed \(seed)") }
    }
    #expect(try stores[0].problems() == [])
  }
}
