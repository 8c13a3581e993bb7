import CacheTypes
import RowStorage
import Testing

/// What a salvage keeps of a damaged database.
struct SalvageTests {
  /// Salvages a database into a folder of its own and opens the copy.
  static func salvage(_ sample: SampleStore) throws -> (SalvageReport, RowStore) {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/users.sqlite"
    let salvage = try RowSalvage(path: sample.path, isImmutable: false)
    try FileSystem.makeFile(path)
    try RowStore.create(
      path: path, storeID: Array(1...16), model: salvage.model, element: salvage.element, columns: salvage.columns,
      pageByteCount: salvage.pageByteCount)
    let report = try salvage.salvage(into: path) { _ in }
    return (report, try RowStore(path: path, access: .readWrite, syncsCommits: false))
  }

  @Test func `a sound store is kept whole`() throws {
    let sample = try DamagedUserTests.store()
    let (report, copy) = try Self.salvage(sample)
    #expect(report.dropped.isEmpty && report.problems.isEmpty && report.stale.isEmpty)
    #expect(report.users == 4 && report.positions == 172)
    for user in [1, 2, 3, DamagedUserTests.named] as [UserID] { #expect(try copy.holds(user, DamagedUserTests.tags)) }
    #expect(try copy.problems() == [])
    try copy.append(1, [5], expecting: 43)
    try copy.fold()
    #expect(try copy.problems() == [])
  }

  @Test func `a user keeps the positions before the first damaged one`() throws {
    let sample = try DamagedUserTests.store()
    let side = try SideDatabase(sample.path)
    let place = try side.integer("SELECT place FROM block WHERE place > (2 << 32) ORDER BY place LIMIT 1 OFFSET 2")
    try side.execute("UPDATE block SET checksum = checksum + 1 WHERE place = \(place)")
    try side.execute("UPDATE tail SET count = -1 WHERE user = 3")
    let end = place & 0xFFFF_FFFF
    let (report, copy) = try Self.salvage(sample)
    #expect(report.dropped.map(\.user) == [2])
    #expect(report.dropped.map(\.positions) == [end..<43])
    #expect(report.problems.count == 1)
    #expect(try copy.holds(2, Array(DamagedUserTests.tags[..<end])))
    #expect(try copy.holds(3, Array(DamagedUserTests.tags[..<40])))
    for user in [1, DamagedUserTests.named] as [UserID] { #expect(try copy.holds(user, DamagedUserTests.tags)) }
    #expect(try copy.problems() == [])
  }

  @Test func `users on other pages than the damaged ones are kept, whichever page it is`() throws {
    let sample = try SampleStore()
    var histories: [UserID: [UInt32]] = [:]
    do {
      let store = try sample.open()
      for user in 0..<60 {
        let tags = (0..<UInt32(user % 7 * 8 + 4)).map { $0 + UInt32(user) }
        let id = user % 3 == 0 ? UserID.bytes(Array("user \(user)".utf8)) : .integer(Int64(user))
        histories[id] = tags
        try store.append(id, tags)
      }
      try store.fold()
      for (user, _) in histories {
        histories[user]!.append(9)
        try store.append(user, [9])
      }
      try store.close()
    }
    let whole = try sample.folder.bytes(of: "users.sqlite")
    var (kept, opened) = (0, 0)
    // The first page, and those of the small tables, may take everything with them.
    for page in 1..<whole.count / 4_096 {
      var damaged = whole
      damaged[page * 4_096 + 2_000] ^= 4
      try sample.folder.write(damaged, to: "users.sqlite")
      for suffix in ["wal", "shm"] where try FileSystem.exists("\(sample.path)-\(suffix)") {
        try FileSystem.remove("\(sample.path)-\(suffix)")
      }
      do {
        let (report, copy) = try Self.salvage(sample)
        opened += 1
        #expect(try copy.problems() == [], "page \(page)")
        for user in try copy.users() {
          let length = try copy.length(of: user)
          let tags = try #require(histories[user])
          try #require(length <= tags.count)
          let isRight = try copy.holds(user, Array(tags[..<length]))
          #expect(isRight, "page \(page)")
          if length == tags.count { kept += 1 }
        }
        let total = histories.values.reduce(0) { $0 + $1.count }
        #expect(report.positions == total || !(report.problems.isEmpty && report.dropped.isEmpty), "page \(page)")
      } catch { guard error is StoreError else { throw error } }
    }
    let pages = whole.count / 4_096 - 1
    #expect(opened >= pages - 5, "\(opened) of \(pages)")
    #expect(kept * 10 > opened * histories.count * 8, "\(kept) of \(opened * histories.count)")
  }
}
