import CacheTypes
import Foundation
import RowStorage
import Testing

struct WatermarkTests {
  static let store: [UInt8] = Array(0..<16)

  /// A database with a watermark beside it.
  private struct Marked {
    let sample: SampleStore
    let path: String
    var folder: ScratchFolder { sample.folder }

    init(_ shape: ModelShape = Sample.wide) throws {
      sample = try SampleStore(shape)
      path = "\(sample.folder.path)/watermark"
      try Watermark.create(path, store: WatermarkTests.store)
    }

    func open(
      _ access: RowStore.Access = .readWrite, syncsCommits: Bool = false, acceptsRollback: Bool = false
    ) throws(StoreError) -> RowStore {
      let watermark = try Watermark(path, access, makesMissing: acceptsRollback)
      return try RowStore(
        path: sample.path, access: access, syncsCommits: syncsCommits, watermark: watermark,
        acceptsRollback: acceptsRollback)
    }

    func openingError(_ access: RowStore.Access = .readWrite) -> StoreError? {
      do throws(StoreError) {
        _ = try open(access)
        return nil
      } catch { return error }
    }

    /// The greatest number that was taken down.
    var newest: Int64? { get throws { try WatermarkTests.newest(path) } }

    var commits: Int64 { get throws { Int64(try SideDatabase(sample.path).integer("SELECT commits FROM meta")) } }
  }

  private static func newest(_ path: String) throws -> Int64? {
    let watermark = try Watermark(path, .readOnly)
    watermark.belong(to: store)
    return watermark.newestAtOpening
  }

  // MARK: The file

  @Test func `the example of format-1_md is what the code writes`() throws {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/watermark"
    try Watermark.create(path, store: Self.store)
    #expect(try folder.bytes(of: "watermark").count == Watermark.byteCount)
    let watermark = try Watermark(path, .readWrite)
    watermark.belong(to: Self.store)
    watermark.record(1_000)
    let bytes = try folder.bytes(of: "watermark")
    let slot = Array(bytes[232 * 32..<233 * 32])
    let example = try SpecificationTests.bytes("mark")
    #expect(slot == example, "\(Hex.encode(slot))")
    #expect(try Self.newest(path) == 1_000)
    // A new file holds number 1; nothing else was touched.
    let others = bytes.indices.filter {
      bytes[$0] != 0 && !(32..<64).contains($0) && !(232 * 32..<233 * 32).contains($0)
    }
    #expect(others.isEmpty)
  }

  @Test func `no changed bit of a slot leaves it valid`() throws {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/watermark"
    try Watermark.create(path, store: Self.store)
    let whole = try folder.bytes(of: "watermark")
    for bit in 0..<256 {
      var bytes = whole
      bytes[32 + bit / 8] ^= 1 << UInt8(bit % 8)
      try folder.write(bytes, to: "watermark")
      #expect(try Self.newest(path) == nil, "bit \(bit)")
    }
  }

  @Test func `a slot counts only in its place, whole, and with a number that can be`() throws {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/watermark"
    func slot(_ number: UInt64) -> [UInt8] {
      var bytes = Self.store + (0..<8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
      let checksum = Checksum.xxh3(bytes)
      bytes += (0..<8).map { UInt8(truncatingIfNeeded: checksum >> ($0 * 8)) }
      return bytes
    }
    func newest(_ number: UInt64, at index: Int, length: Int = Watermark.byteCount) throws -> Int64? {
      var bytes = [UInt8](repeating: 0, count: Watermark.byteCount)
      bytes.replaceSubrange(index * 32..<(index + 1) * 32, with: slot(number))
      try folder.write(Array(bytes.prefix(length)), to: "watermark")
      return try Self.newest(path)
    }
    #expect(try newest(777, at: 777 % 256) == 777)
    #expect(try newest(777, at: 777 % 256 + 1) == nil)
    #expect(try newest(777, at: 777 % 256, length: (777 % 256 + 1) * 32) == 777)
    #expect(try newest(777, at: 777 % 256, length: (777 % 256 + 1) * 32 - 1) == nil)
    let limit = UInt64(Watermark.numberLimit)
    #expect(try newest(limit, at: Int(limit % 256)) == Watermark.numberLimit)
    for number in [limit + 1, UInt64(Int64.max), UInt64(Int64.max) + 1, .max] {
      #expect(try newest(number, at: Int(number % 256)) == nil, "\(number)")
    }
    #expect(try newest(1, at: 1, length: 0) == nil)
  }

  // MARK: Commits

  @Test func `every kind of commit is taken down`() throws {
    let marked = try Marked()
    let store = try marked.open()
    func expectTaken(_ what: String, _ body: () throws -> Void) throws {
      let before = try marked.commits
      try body()
      #expect(try marked.commits > before, "\(what) is no commit")
      #expect(try marked.newest == marked.commits, "\(what)")
    }
    #expect(try marked.newest == marked.commits)
    try expectTaken("an append") { try store.append(5, [1, 2, 3]) }
    try expectTaken("a straight run") { try store.append(6, Array(0..<60)) }
    try expectTaken("a fold") { try store.fold() }
    try expectTaken("a deletion") { _ = try store.delete(5) }
    try expectTaken("a vacuum") { _ = try store.vacuum(VacuumPlan()) { _, _ in } }
    try expectTaken("a migration") { _ = try store.vacuum(VacuumPlan(element: .f16)) { _, _ in } }
    try expectTaken("another model") { try store.adopt(Sample.record(Sample.wide, name: "pool-01.safetensors")) }
    try store.close()
    #expect(try marked.newest == marked.commits)
    #expect(marked.openingError() == nil)
  }

  @Test func `a commit that does not wait for the disk is taken down by the next one that does`() throws {
    let marked = try Marked()
    let store = try marked.open(syncsCommits: true)
    try store.append(5, [1, 2, 3])
    let synced = try marked.commits
    #expect(try marked.newest == synced)
    try store.fold()
    #expect(try marked.commits > synced)
    // A loss of power may take the fold, and nobody has lost anything then.
    #expect(try marked.newest == synced)
    try store.append(5, [4])
    #expect(try marked.newest == marked.commits)
    try store.fold()
    try store.close()
    // Closing moved the log into the database, which was synced.
    #expect(try marked.newest == marked.commits)
  }

  @Test func `writers that take turns never set the watermark back`() throws {
    let marked = try Marked()
    let stores = [try marked.open(), try marked.open(), try marked.open()]
    var random = SplitMix64(seed: 3)
    for step in 0..<600 {
      let store = stores.randomElement(using: &random)!
      try store.append(.integer(Int64(step % 5)), [UInt32(step)])
      #expect(try marked.newest == Int64(step + 2))
    }
  }

  @Test func `a mark that comes late undoes no newer one`() throws {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/watermark"
    try Watermark.create(path, store: Self.store)
    let watermark = try Watermark(path, .readWrite)
    watermark.belong(to: Self.store)
    for late in 1...255 {
      watermark.record(1_000 + Int64(late))
      for delay in [1, 2, 100, 255] where late > delay { watermark.record(1_000 + Int64(late - delay)) }
      #expect(try Self.newest(path) == 1_000 + Int64(late))
    }
  }

  @Test func `a mark that cannot be written is no error of the commit, and is told`() throws {
    let marked = try Marked()
    // A descriptor for reading refuses every write.
    let store = try RowStore(
      path: marked.sample.path, access: .readWrite, syncsCommits: false, watermark: Watermark(marked.path, .readOnly))
    #expect(try store.watermarkState() == .sound)
    try store.append(5, [1])
    guard case .unwritten(let reason) = try store.watermarkState() else {
      Issue.record("the failure is kept secret")
      return
    }
    #expect(reason.contains("pwrite"))
    #expect(try store.holds(5, [1]))
  }

  // MARK: A database that goes back under an open store

  @Test func `a store that is open reports a database older than what it has seen, reading and writing`() throws {
    let marked = try Marked()
    let store = try marked.open()
    for step in 0..<5 { try store.append(5, [UInt32(step)]) }
    #expect(try store.length(of: 5) == 5)
    try SideDatabase(marked.sample.path).execute(
      "DELETE FROM tail WHERE seq > 3; UPDATE meta SET commits = commits - 2, next_seq = next_seq - 2")
    let expected = StoreError.rolledBack(path: marked.sample.path, commits: 2)
    #expect(throws: expected) { try store.length(of: 5) }
    #expect(throws: expected) { try store.append(5, [9]) }
    #expect(throws: expected) { try store.fold() }
    #expect(throws: expected) { try store.problems() }
    #expect(throws: expected) { try store.statistics() }
    #expect(marked.openingError() == expected)
    #expect(try marked.open(acceptsRollback: true).holds(5, [0, 1, 2]))
    // It counts on beyond what was seen, and starts its memory anew.
    #expect(try store.holds(5, [0, 1, 2]))
  }
}
