import CacheTypes
import Foundation
import RowStorage
import Synchronization
import Testing

/// A snapshot that stands between reads spares them SQLite's locks, and must be in nobody's way.
struct StandingSnapshotTests {
  /// Whether another connection cannot empty the log at once.
  static func isLogHeld(_ side: SideDatabase) throws -> Bool {
    try side.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0].hasPrefix("1|")
  }

  static func side(_ sample: SampleStore) throws -> SideDatabase {
    let side = try SideDatabase(sample.path)
    try side.execute("PRAGMA busy_timeout = 0")
    return side
  }

  @Test func `a snapshot stands after quiet reads and is gone soon after the last one`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let side = try Self.side(sample)
    try store.append(5, [1, 2, 3])
    // A loaded machine may sweep it away before this thread looks again.
    var hasStood = false
    for _ in 0..<100 where !hasStood {
      for _ in 0..<4 { #expect(try store.holds(5, [1, 2, 3])) }
      hasStood = try Self.isLogHeld(side)
    }
    #expect(hasStood)
    var isHeld = true
    for _ in 0..<100 where isHeld {
      usleep(20_000)
      isHeld = try Self.isLogHeld(side)
    }
    #expect(!isHeld)
    #expect(try store.holds(5, [1, 2, 3]))
  }

  @Test func `a read after a commit sees it, whoever committed and however quiet it was before`() throws {
    let sample = try SampleStore()
    let (store, other) = (try sample.open(), try sample.open())
    var tags: [UInt32] = []
    for round in 0..<200 {
      let writer = round % 2 == 0 ? other : store
      try writer.append(5, [UInt32(round)])
      tags.append(UInt32(round))
      if round % 50 == 49 { try writer.fold() }
      for _ in 0..<round % 5 { #expect(try store.holds(5, tags)) }
      #expect(try store.length(of: 5) == tags.count)
    }
  }

  @Test func `a store whose reads go on lets its own log be moved and another's delete finish`() throws {
    let sample = try SampleStore()
    let (store, other) = (try sample.open(), try sample.open())
    for user in 0..<20 { try store.append(.integer(Int64(user)), (0..<50).map { UInt32($0) }) }
    for _ in 0..<10 { #expect(try store.length(of: 3) == 50) }
    #expect(try other.delete(7).isErasurePending == false)
    for _ in 0..<10 { #expect(throws: StoreError.unknownUser(7)) { try store.length(of: 7) } }
    for _ in 0..<10 { #expect(try store.length(of: 3) == 50) }
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try sample.folder.bytes(of: "users.sqlite-wal").isEmpty)
  }

  @Test func `vacuum does not wait for another's reads that never pause`() throws {
    let sample = try SampleStore()
    let (store, other) = (try sample.open(), try sample.open())
    for user in 0..<20 { try store.append(.integer(Int64(user)), (0..<50).map { UInt32($0) }) }
    let isOver = Atomic(false)
    let wrongReads = Atomic(0)
    let waited = Mutex(Duration.zero)
    DispatchQueue.concurrentPerform(iterations: 2) { thread in
      if thread == 0 {
        while !isOver.load(ordering: .relaxed) {
          if (try? other.length(of: 3)) != 50 { wrongReads.add(1, ordering: .relaxed) }
        }
      } else {
        let start = ContinuousClock.now
        for _ in 0..<3 { _ = try? store.vacuum(VacuumPlan()) { _, _ in } }
        waited.withLock { $0 = ContinuousClock.now - start }
        isOver.store(true, ordering: .relaxed)
      }
    }
    #expect(wrongReads.load(ordering: .relaxed) == 0)
    // Each of them would give up after ten seconds, during which nobody could write.
    #expect(waited.withLock { $0 } < .seconds(8))
    #expect(try SideDatabase(sample.path).integer("SELECT erase_pending FROM meta") == 0)
    #expect(try store.append(3, [1]) == 51)
  }
}
