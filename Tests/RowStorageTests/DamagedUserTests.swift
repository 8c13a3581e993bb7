import CacheTypes
import RowStorage
import Testing

/// One user's damaged rows: what they must not keep from everybody else, and from being deleted.
struct DamagedUserTests {
  static let named = UserID.bytes(Array("ann".utf8))

  /// Users 1, 2, 3 and a named one with blocks of 40 positions and a tail of 3.
  static func store() throws -> SampleStore {
    let sample = try SampleStore()
    let store = try sample.open()
    for user in [1, 2, 3, named] as [UserID] { try store.append(user, (0..<40).map { UInt32($0) }) }
    try store.fold()
    for user in [1, 2, 3, named] as [UserID] { try store.append(user, [100, 101, 102]) }
    return sample
  }

  static let tags = (0..<40).map { UInt32($0) } + [100, 101, 102]

  @Test func `a fold leaves a damaged user's rows in the tail and folds everybody else's`() throws {
    let sample = try Self.store()
    let side = try SideDatabase(sample.path)
    try side.execute("UPDATE tail SET checksum = checksum + 1 WHERE user = 2")
    let before = try side.rows("SELECT user, position, count, generation, checksum, payload FROM tail WHERE user = 2")
    let other = try sample.open()
    let store = try sample.open()
    try store.fold()
    #expect(try side.rows("SELECT DISTINCT user FROM tail") == ["2"])
    #expect(
      try side.rows("SELECT user, position, count, generation, checksum, payload FROM tail WHERE user = 2") == before)
    for store in [store, other] {
      for user in [1, 3, Self.named] as [UserID] { #expect(try store.holds(user, Self.tags)) }
      #expect(throws: StoreError.self) { try store.read(2) }
    }
    try store.append(2, [7], expecting: 43)
    #expect(try store.fold() == 0)
    #expect(try store.problems().contains { $0.contains("checksum") })
    try store.close()
    let again = try sample.open()
    #expect(try again.delete(2).positions == 44)
    try again.fold()
    #expect(try side.integer("SELECT count(*) FROM tail") == 0)
    #expect(try again.problems() == [])
  }

  @Test func `a user whose newest block has damaged columns can be deleted`() throws {
    let sample = try Self.store()
    let store = try sample.open()
    try store.fold()
    let side = try SideDatabase(sample.path)
    try side.execute(
      "UPDATE block SET count = -5 WHERE place = (SELECT max(place) FROM block WHERE place < (2 << 32))")
    #expect(throws: StoreError.self) { try store.read(1) }
    _ = try store.delete(1)
    #expect(try side.integer("SELECT count(*) FROM block WHERE place >= (1 << 32) AND place < (2 << 32)") == 0)
    #expect(try store.holds(2, Self.tags))
    #expect(throws: StoreError.unknownUser(1)) { try store.delete(1) }
  }

  @Test(.timeLimit(.minutes(1))) func `a forged next number does not make a fold step through what is not there`()
    throws
  {
    let sample = try Self.store()
    try SideDatabase(sample.path).execute("UPDATE meta SET next_seq = 1 << 61")
    let store = try sample.open()
    try store.append(1, [103])
    #expect(try store.fold() == 5)
    #expect(try store.holds(1, Self.tags + [103]))
    try store.close()
  }

  @Test func `verify goes on behind a row whose columns are damaged`() throws {
    let sample = try Self.store()
    let side = try SideDatabase(sample.path)
    try side.execute("UPDATE block SET count = -5 WHERE place = (1 << 32)")
    try side.execute("UPDATE block SET checksum = checksum + 1 WHERE place = (3 << 32)")
    let problems = try sample.open().verify { _, _ in }.problems
    #expect(problems.contains { $0.user == 1 && $0.position == 0 })
    #expect(problems.contains { $0.user == 3 && $0.position == 0 && $0.reason.contains("checksum") })
    #expect(!problems.contains { $0.user == 2 })
  }
}
