import CacheTypes
import RowStorage
import Testing

/// Vacuum cuts histories where pages end.
struct PageFillTests {
  /// Histories of all lengths, many shorter than a row, some longer than a page, of users of every kind.
  static func fill(_ store: RowStore, seed: UInt64) throws -> [UserID: [UInt32]] {
    var random = SplitMix64(seed: seed)
    var histories: [UserID: [UInt32]] = [:]
    for number in 0..<300 {
      let id = Int64(number) * 7 - 300
      let user: UserID = number % 5 == 0 ? .bytes([UInt8(number % 251), 1]) : .integer(id)
      let length = Int.random(in: 1...(number % 9 == 0 ? 900 : 120), using: &random)
      histories[user] = (0..<length).map { _ in UInt32.random(in: 0...9_999, using: &random) }
      try store.append(user, histories[user]!)
    }
    return histories
  }

  @Test(arguments: [7, -1, Int(Int32.max)])
  func `a block at a place that no position has is damage, and vacuum ends`(number: Int) throws {
    let sample = try SampleStore()
    let store = try sample.open()
    for user: UserID in [7, -1, .integer(Int64(Int32.max)), 20] { try store.append(user, [1, 2, 3]) }
    try store.fold()
    try SideDatabase(sample.path).execute(
      """
      INSERT INTO block SELECT (\(number) << 32) + 4294967295, count, generation, checksum, payload FROM block
      WHERE place >> 32 = 20
      """)
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try !store.problems().isEmpty)
    #expect(throws: StoreError.self) { try store.read(.integer(Int64(number))) }
    #expect(try store.holds(20, [1, 2, 3]))
  }

  @Test(
    arguments: [ElementType.f32, .f16, .i8], [KeptColumns(rawValue: 0), .items, [.items, .timestamps]])
  func `pages are full after vacuum and no row leaves its page`(element: ElementType, columns: KeptColumns) throws {
    for pageByteCount in [4_096, 16_384] {
      let sample = try SampleStore(Sample.plain, element: element, columns: columns, pageByteCount: pageByteCount)
      let store = try sample.open()
      var histories = try Self.fill(store, seed: UInt64(pageByteCount))
      for round in 0..<3 {
        if round == 1 {
          for user in Array(histories.keys.sorted().prefix(20)) {
            _ = try store.delete(user)
            histories[user] = nil
          }
        }
        if round == 2 {
          for user in histories.keys.sorted().suffix(100) { try store.append(user, [1]) }
          for user in histories.keys.sorted().suffix(100) { histories[user]!.append(1) }
        }
        _ = try store.vacuum(VacuumPlan()) { _, _ in }
        for (user, tags) in histories where element != .i8 { #expect(try store.holds(user, tags)) }
        #expect(try store.problems() == [])
        let side = try SideDatabase(sample.path)
        // What SQLite keeps in a leaf page at most, its own overhead of a row included.
        let longest = pageByteCount - 8 - 35 - 16
        #expect(try side.integer("SELECT max(length(payload)) FROM block") <= longest)
        let bytes = try side.integer("SELECT sum(length(payload) + 28) FROM block")
        // Other tables, the page of keys above the leaves, and the last page.
        let pages = try side.integer("PRAGMA page_count") - 11
        #expect(pages * pageByteCount * 100 <= bytes * 105, "\(pages) pages for \(bytes) bytes, round \(round)")
      }
    }
  }
}
