import CacheTypes
import RowStorage
import Testing

/// Users whose rows belong to another model.
struct StaleUserTests {
  /// Gives a store a second model, as the newest.
  static func addModel(_ shape: ModelShape, to sample: SampleStore) throws {
    func hex(_ bytes: [UInt8]) -> String { "x'" + Hex.encode(bytes) + "'" }
    try SideDatabase(sample.path).execute(
      """
      BEGIN;
      INSERT INTO model
      VALUES(2, x'0102', 'pool-02.safetensors', 4096, x'0000000000000000', \(hex(shape.encodedLayout)));
      INSERT INTO generation VALUES(2, 2, 1, 0, 1);
      UPDATE meta SET generation = 2, next_seq = next_seq + 1;
      COMMIT
      """)
  }

  static let oldHistory = (0..<11).map { UInt32($0) }

  /// A store with two users of the first model, in blocks, in the tail or both, opened with the second.
  static func staleStore(folds: Bool) throws -> (SampleStore, RowStore) {
    let sample = try SampleStore(Sample.wide)
    let old = try sample.open()
    for tag in oldHistory { try old.append(5, [tag]) }
    if folds { try old.fold() }
    try old.append(6, [1])
    try old.close()
    try addModel(Sample.plain, to: sample)
    return (sample, try sample.open())
  }

  @Test(arguments: [false, true])
  func `a stale user is named as such by every call`(folds: Bool) throws {
    let (_, store) = try Self.staleStore(folds: folds)
    for user in [UserID.integer(5), 6] {
      #expect(throws: StoreError.staleUser(user)) { try store.read(user) }
      #expect(throws: StoreError.staleUser(user)) { try store.length(of: user) }
      #expect(throws: StoreError.staleUser(user)) { try store.append(user, [1]) }
    }
    #expect(try store.statistics().staleUsers == 2)
    #expect(try store.users() == [5, 6])
    #expect(
      try store.withSnapshot { (snapshot) throws(StoreError) in try snapshot.staleLength(of: 5) }
        == Self.oldHistory.count)
    #expect(try store.problems() == [])
  }

  @Test func `reading a stale user does not hold on to its snapshot`() throws {
    let (sample, store) = try Self.staleStore(folds: true)
    #expect(throws: StoreError.staleUser(5)) { try store.read(5) }
    let other = try sample.open()
    try other.append(7, [1])
    try other.fold()
    #expect(try store.holds(7, [1]))
    #expect(try store.append(7, [2]) == 2)
    #expect(try store.holds(7, [1, 2]))
  }

  @Test(arguments: [false, true], [1, 3, 200])
  func `a stale user starts anew where the caller asks for it`(folds: Bool, count: Int) throws {
    let (sample, store) = try Self.staleStore(folds: folds)
    let tags = (0..<UInt32(count)).map { $0 + 100 }
    #expect(try store.append(5, tags, resets: true) == count)
    #expect(try store.holds(5, tags))
    #expect(try store.append(5, [7], resets: true) == count + 1)
    #expect(try store.holds(5, tags + [7]))
    #expect(throws: StoreError.staleUser(6)) { try store.read(6) }
    #expect(try sample.open().holds(5, tags + [7]))
    try store.fold()
    #expect(try store.holds(5, tags + [7]))
    #expect(try store.problems() == [])
  }

  @Test(arguments: [false, true], [[0, 3], [1, 200], [200, 1], [0, 200], [2, 0, 200, 2]])
  func `several runs of a user that starts anew, in one batch`(folds: Bool, counts: [Int]) throws {
    let (_, store) = try Self.staleStore(folds: folds)
    let tags = (0..<UInt32(counts.reduce(0, +))).map { $0 + 100 }
    var runs: [Run] = []
    for count in counts {
      let start = runs.last?.rows.upperBound ?? 0
      runs.append(Run(user: 5, rows: start..<start + count, resetsStaleUser: true))
    }
    #expect(try store.append(Sample.entries(tags, Sample.plain), runs).last == tags.count)
    #expect(try store.holds(5, tags))
    try store.fold()
    #expect(try store.holds(5, tags))
    #expect(try store.problems() == [])
  }

  @Test func `folding and vacuum leave stale users' rows as they are`() throws {
    let (sample, store) = try Self.staleStore(folds: false)
    try store.append(4, [1, 2])
    try store.append(7, [3])
    try store.fold()
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    _ = try store.vacuum(VacuumPlan(element: .i8)) { _, _ in }
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    _ = try store.vacuum(VacuumPlan(element: .f32)) { _, _ in }
    #expect(try store.length(of: 4) == 2)
    try SideDatabase(sample.path).execute("UPDATE meta SET generation = 1, next_seq = next_seq + 1")
    let old = try sample.open()
    #expect(try old.holds(5, Self.oldHistory))
    #expect(try old.holds(6, [1]))
    #expect(try old.problems() == [])
  }

  @Test func `a stale user stays stale after its tail rows were folded`() throws {
    let (_, store) = try Self.staleStore(folds: false)
    try store.fold()
    try store.append(7, [1])  // looks at the fold
    for user in [UserID.integer(5), 6] {
      #expect(throws: StoreError.staleUser(user)) { try store.append(user, [1]) }
    }
  }

  @Test func `a store that was opened with the old model stops at the new one`() throws {
    let sample = try SampleStore(Sample.wide)
    let old = try sample.open()
    try old.append(5, [1])
    try Self.addModel(Sample.plain, to: sample)
    #expect(throws: StoreError.self) { try old.append(5, [2]) }
    let new = try sample.open()
    #expect(throws: StoreError.staleUser(5)) { try new.read(5) }
  }

  @Test func `rows of two models in one history are damage`() throws {
    let sample = try SampleStore(Sample.plain)
    let store = try sample.open()
    try store.append(5, Array(0..<200))
    try Self.addModel(Sample.mixed, to: sample)
    let side = try SideDatabase(sample.path)
    // The first block claims to be of the other model, with a checksum to match.
    let row = try side.rows("SELECT count, payload FROM block WHERE place = 5 << 32")[0].split(separator: "|")
    let payload = try #require(Hex.decode(row[1].dropFirst()))
    let place = RowPlace(user: 5, position: 0, count: try #require(Int(row[0])), generation: 2)
    let checksum = payload.withUnsafeBytes { RowChecksum.of(place, $0) }
    try side.execute(
      """
      BEGIN; UPDATE block SET generation = 2, checksum = \(checksum) WHERE place = 5 << 32;
      UPDATE meta SET generation = 1, next_seq = next_seq + 1; COMMIT
      """)
    let again = try sample.open()
    do {
      _ = try again.read(5)
      Issue.record("rows of two models were read")
    } catch StoreError.damaged {
    }
    #expect(try again.read(5, .last(3)).length == 200)
  }
}
