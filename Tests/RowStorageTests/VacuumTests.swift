import CacheTypes
import RowStorage
import Testing

struct VacuumTests {
  @Test(arguments: ElementType.allCases, ElementType.allCases)
  func `rows of one element type become rows of another`(from: ElementType, to: ElementType) throws {
    let sample = try SampleStore(Sample.wide, element: from)
    let store = try sample.open()
    let other = try sample.open()
    let users: [UserID] = [1, 2, .bytes([3])]
    let tags = (0..<14).map { UInt32($0) }
    for user in users { for tag in tags { try store.append(user, [tag]) } }
    try store.fold()
    try store.append(9, [1])
    let before = try store.read(1).entries
    _ = try store.vacuum(VacuumPlan(element: to)) { _, _ in }
    #expect(store.element == to)
    #expect(try store.statistics().element == to)
    let expected = Sample.entries(tags, Sample.wide)
    for reader in [store, other, try sample.open()] {
      for user in users {
        let entries = try reader.read(user).entries
        if from != .i8, to != .i8 {
          #expect(entries == expected)
        } else {
          // At most one rounding to eight bits, and one to the new type.
          for (value, wanted) in zip(entries.layers[0].keyUser, before.layers[0].keyUser) {
            #expect(abs(value - wanted) <= 2.0 / 127 / 2 * 1.01)
          }
        }
      }
      #expect(try reader.append(9, [2]) > 1)
    }
    #expect(try store.length(of: 9) == 4)
    #expect(try store.problems() == [])
    #expect(try other.problems() == [])
  }

  @Test(arguments: [ElementType.f16, .i8])
  func `a number that the new element type cannot hold stops the migration and changes nothing`(to: ElementType) throws
  {
    for wrong in [Float(1e6), -65_520, .greatestFiniteMagnitude] {
      let sample = try SampleStore(Sample.wide)
      let store = try sample.open()
      var entries = Sample.entries([1, 2, 3], Sample.wide)
      entries.layers[0].valueUser[4] = wrong
      _ = try store.append(entries, [Run(user: 5, rows: 0..<3)])
      try store.append(4, [1])
      do {
        _ = try store.vacuum(VacuumPlan(element: to)) { _, _ in }
        Issue.record("\(wrong) was stored as \(to)")
      } catch StoreError.invalidInput {
      }
      #expect(store.element == .f32)
      #expect(try store.read(5).entries == entries)
      #expect(try store.append(4, [2]) == 2)
      #expect(try SideDatabase(sample.path).integer("SELECT count(*) FROM generation") == 1)
      #expect(try store.problems() == [])
    }
  }

  @Test func `entries that another process's migration has made too large are refused`() throws {
    let sample = try SampleStore(Sample.wide)
    let (a, b) = (try sample.open(), try sample.open())
    try a.append(5, [1])
    _ = try b.vacuum(VacuumPlan(element: .f16)) { _, _ in }
    var entries = Sample.entries([2], Sample.wide)
    entries.layers[0].keyUser[0] = 1e6
    #expect(throws: StoreError.self) { try a.append(entries, [Run(user: 5, rows: 0..<1)]) }
    #expect(try a.append(5, [2]) == 2)
    #expect(try a.holds(5, [1, 2]))
  }

  @Test func `a change of the page size there and back keeps every entry`() throws {
    let sample = try SampleStore(Sample.mixed, columns: [.items, .timestamps])
    let store = try sample.open()
    let tags = (0..<40).map { UInt32($0) }
    for user in 0..<7 { for tag in tags { try store.append(.integer(Int64(user)), [tag]) } }
    for pageByteCount in [8_192, 65_536, 4_096] {
      _ = try store.vacuum(VacuumPlan(pageByteCount: pageByteCount)) { _, _ in }
      #expect(store.pageByteCount == pageByteCount)
      #expect(try SideDatabase(sample.path).integer("PRAGMA page_size") == pageByteCount)
      #expect(try SideDatabase(sample.path).rows("PRAGMA journal_mode") == ["wal"])
      for user in 0..<7 { #expect(try store.holds(.integer(Int64(user)), tags)) }
      #expect(try store.problems() == [])
      let again = try sample.open()
      #expect(try again.holds(3, tags))
      try again.close()
    }
  }

  @Test func `the page size stays while another connection is open`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(5, [1])
    let other = try sample.open()
    do {
      _ = try store.vacuum(VacuumPlan(pageByteCount: 8_192)) { _, _ in }
      Issue.record("the page size changed under another connection")
    } catch StoreError.busy {
    }
    #expect(store.pageByteCount == 4_096)
    #expect(try SideDatabase(sample.path).integer("SELECT erase_pending FROM meta") == 0)
    #expect(try other.append(5, [2]) == 2)
    #expect(try store.append(5, [3]) == 3)
    #expect(try store.holds(5, [1, 2, 3]))
    #expect(try other.problems() == [])
  }

  @Test func `what was deleted is given back`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    for user in 0..<40 { try store.append(.integer(Int64(user)), (0..<60).map { UInt32($0) }) }
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    let full = try sample.folder.bytes(of: "users.sqlite").count
    for user in 0..<20 { _ = try store.delete(.integer(Int64(user * 2))) }
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    let half = try sample.folder.bytes(of: "users.sqlite").count
    #expect(half * 100 <= full * 60, "\(full) bytes became \(half)")
    #expect(try store.users().count == 20)
  }

  @Test func `vacuum works after a user's rows were found stale or sealed last`() throws {
    let (_, store) = try StaleUserTests.staleStore(folds: true)
    for _ in 0..<2 { _ = try store.vacuum(VacuumPlan()) { _, _ in } }
    _ = try store.vacuum(VacuumPlan(element: .i8)) { _, _ in }
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try store.problems() == [])
  }

  @Test(arguments: [false, true], [ElementType.f16, .i8])
  func `numbers too large for the element type outlive their model's absence`(appends: Bool, to: ElementType) throws {
    let sample = try SampleStore(Sample.wide)
    var store = try sample.open()
    var entries = Sample.entries([1, 2, 3], Sample.wide)
    entries.layers[0].valueUser[4] = 1e6
    _ = try store.append(entries, [Run(user: 5, rows: 0..<3)])
    try store.fold()
    try store.adopt(Sample.record(Sample.plain, name: "other"))
    store = try sample.open()
    _ = try store.vacuum(VacuumPlan(element: to)) { _, _ in }
    try store.adopt(Sample.record(Sample.wide))
    store = try sample.open()
    #expect(store.element == to)
    if appends { try store.append(5, [4]) }
    try store.fold()
    #expect(try store.read(5, .range(0..<3)).entries == entries)
    try store.append(6, [1])
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try store.read(5, .range(0..<3)).entries == entries)
    #expect(try store.length(of: 5) == (appends ? 4 : 3))
    #expect(try store.problems() == [])
  }
}
