import CacheTypes
import Foundation
import RowStorage
import Synchronization
import Testing

/// Histories that are kept must be what a read would find, whoever changed the store in whatever way.
struct HistoryCacheTests {
  /// Whether two answers are the same memory. Both are alive, so it cannot be memory that was used again.
  static func areOne(_ first: UserRows, _ second: UserRows) -> Bool {
    first.entries.layers[0].keyIndices.withUnsafeBufferPointer { first in
      second.entries.layers[0].keyIndices.withUnsafeBufferPointer { first.baseAddress == $0.baseAddress }
    }
  }

  static func tags(_ count: Int) -> [UInt32] { (0..<UInt32(count)).map { $0 } }

  @Test func `a history is decoded once, and again when it has grown`() throws {
    let store = try SampleStore().open()
    try store.append(5, Self.tags(3))
    let first = try store.history(5)
    let second = try store.history(5)
    #expect(Self.areOne(first, second) && second.length == 3)
    try store.append(6, Self.tags(9))
    #expect(Self.areOne(first, try store.history(5)), "another user's append is no reason to decode again")
    try store.append(5, [7])
    let grown = try store.history(5)
    #expect(!Self.areOne(first, grown) && grown.length == 4)
    #expect(try store.serves(5, Self.tags(3) + [7]))
    try store.fold()
    #expect(Self.areOne(grown, try store.history(5)), "a fold changes no number")
  }

  @Test func `an append, a delete and a migration of another process are seen`() throws {
    let sample = try SampleStore(element: .f32)
    let (store, other) = (try sample.open(), try sample.open())
    try store.append(5, Self.tags(6))
    #expect(try store.serves(5, Self.tags(6)))
    try other.append(5, [6])
    #expect(try store.serves(5, Self.tags(7)))
    try other.fold()
    #expect(try store.serves(5, Self.tags(7)))
    _ = try other.vacuum(VacuumPlan(element: .bf16)) { _, _ in }
    #expect(try store.serves(5, Self.tags(7)))
    _ = try other.delete(5)
    #expect(try store.serves(5, []))
    try other.append(5, [40])
    #expect(try store.serves(5, [40]))
  }

  @Test func `numbers that a migration rounds are served rounded`() throws {
    let sample = try SampleStore(element: .f32)
    let (store, other) = (try sample.open(), try sample.open())
    var entries = Sample.entries(Self.tags(3), sample.shape)
    entries.layers[0].keyUser[0] = 0.1
    _ = try store.append(entries, [Run(user: 5, rows: 0..<3)])
    #expect(try store.history(5).entries.layers[0].keyUser[0] == 0.1)
    _ = try other.vacuum(VacuumPlan(element: .f16)) { _, _ in }
    #expect(try store.history(5).entries.layers[0].keyUser[0] == Float(Float16(0.1)))
  }

  /// Eight-bit numbers change when a block is full, and by vacuum: in this process, in another, before and after.
  @Test(arguments: 0..<40)
  func `eight-bit histories are served as they are read`(seed: Int) throws {
    let sample = try SampleStore(element: .i8)
    var random = SplitMix64(seed: UInt64(seed))
    let stores = [try sample.open(), try sample.open()]
    let users = (0..<4).map { UserID.integer(Int64($0)) }
    for user in users { try stores[0].append(user, [1]) }
    for step in 0..<60 {
      let store = stores[Int.random(in: 0..<2, using: &random)]
      switch Int.random(in: 0..<10, using: &random) {
      case 0: try store.fold()
      case 1: _ = try store.vacuum(VacuumPlan()) { _, _ in }
      case 2...5:
        let count = Int.random(in: 1..<EightBitTests.capacity + 4, using: &random)
        try store.append(users.randomElement(using: &random)!, (0..<UInt32(count)).map { $0 &+ UInt32(step) })
      default: break
      }
      for store in stores {
        let user = users.randomElement(using: &random)!
        let (served, read) = (try store.history(user), try store.read(user))
        #expect(served.entries.layers == read.entries.layers && served.length == read.length, "seed \(seed), \(step)")
      }
    }
  }

  @Test func `an older snapshot is not served what came after it`() throws {
    let store = try SampleStore().open()
    try store.append(5, Self.tags(3))
    try store.withSnapshot { (snapshot) throws(StoreError) in
      // The snapshot is taken; the commit and a request for the newest state come from another thread's place.
      do { try store.append(5, [3]) } catch { throw .closed }
      let newest = try store.withHistory(of: 5) { $0.length }
      let older = try snapshot.withHistory(of: 5) { $0.length }
      #expect(newest == 4)
      #expect(older == 3)
    }
  }

  @Test func `layers and positions that are not there yet are read with those that are`() throws {
    let store = try SampleStore(Sample.mixed).open()
    try store.append(5, Self.tags(30))
    let all = Sample.entries(Self.tags(30), Sample.mixed).layers
    #expect(try store.history(5, layers: 1..<2).entries.layers[1] == all[1])
    let both = try store.history(5, layers: 3..<4)
    #expect(both.entries.layers[1...3] == all[1...3])
    #expect(Self.areOne(both, try store.history(5, layers: 2..<3)))
    let last = try store.history(5, .last(4), layers: 0..<5)
    #expect(last.positions == 26..<30)
    #expect(try store.history(5, .last(9)).positions == 21..<30)
    #expect(try store.history(5, .range(22..<25)).positions == 21..<30)
    #expect(try store.history(5).entries.layers == all)
    #expect(try store.history(5, .range(3..<3)).positions == 0..<30)
  }

  @Test func `bytes stay below the limit, and what is asked for stays longest`() throws {
    let sample = try SampleStore()
    let limit = 40_000
    let store = try RowStore(path: sample.path, access: .readWrite, syncsCommits: false, historyByteLimit: limit)
    let users = (0..<100).map { UserID.integer(Int64($0)) }
    for user in users { try store.append(user, Self.tags(8)) }
    let favourite = try store.history(users[0])
    for user in users {
      _ = try store.history(user)
      #expect(Self.areOne(favourite, try store.history(users[0])))
      #expect(store.keptHistories.byteCount <= limit)
    }
    #expect(2..<users.count ~= store.keptHistories.count)
    for user in users { #expect(try store.serves(user, Self.tags(8))) }
  }

  @Test func `a limit of nothing keeps nothing, and a history longer than its share is not kept`() throws {
    let sample = try SampleStore()
    for limit in [0, 20_000] {
      let store = try RowStore(path: sample.path, access: .readWrite, syncsCommits: false, historyByteLimit: limit)
      try store.append(5, Self.tags(100))
      let (first, second) = (try store.history(5), try store.history(5))
      #expect(!Self.areOne(first, second) && first.entries == second.entries)
      #expect(store.keptHistories.count == 0)
    }
  }

  /// What was read before a commit must not be kept after the fold that took the commit's row out of the tail.
  @Test func `no thread is served less than what was committed before it asked`() throws {
    let store = try SampleStore().open()
    try store.append(5, [0])
    let counters = Counters()
    for _ in 0..<3 {
      Thread.detachNewThread {
        while !counters.isOver.load(ordering: .acquiring) {
          let least = counters.committed.load(ordering: .acquiring)
          if (try? store.history(5).length) ?? 0 < least { counters.short.add(1, ordering: .relaxed) }
        }
        counters.ended.add(1, ordering: .releasing)
      }
    }
    for length in 2..<300 {
      try store.append(5, [UInt32(length)])
      try store.fold()
      counters.committed.store(length, ordering: .releasing)
    }
    counters.isOver.store(true, ordering: .releasing)
    while counters.ended.load(ordering: .acquiring) < 3 { usleep(1_000) }
    #expect(counters.short.load(ordering: .relaxed) == 0)
  }

  private final class Counters: Sendable {
    /// The length that is surely committed.
    let committed = Atomic(1)
    let isOver = Atomic(false)
    let ended = Atomic(0)
    /// Answers that were shorter, or errors.
    let short = Atomic(0)
  }
}
