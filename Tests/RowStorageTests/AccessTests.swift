import CacheTypes
import Foundation
import RowStorage
import Testing

struct AccessTests {
  @Test func `a store that was opened for reading reads beside a writer and writes nothing`() throws {
    let sample = try SampleStore()
    let writer = try sample.open()
    try writer.append(5, [1, 2])
    let reader = try sample.open(.readOnly)
    #expect(try reader.holds(5, [1, 2]))
    try writer.append(5, [3])
    try writer.fold()
    try writer.append(5, [4])
    #expect(try reader.holds(5, [1, 2, 3, 4]))
    #expect(throws: StoreError.readOnly) { try reader.append(5, [5]) }
    #expect(throws: StoreError.readOnly) { try reader.fold() }
    #expect(throws: StoreError.readOnly) { try reader.delete(5) }
    #expect(throws: StoreError.readOnly) { try reader.vacuum(VacuumPlan()) { _, _ in } }
    #expect(try reader.problems() == [])
    try reader.close()
    #expect(throws: StoreError.closed) { try reader.read(5) }
    #expect(try writer.length(of: 5) == 4)
  }

  @Test func `reading leaves the database and its log as they are`() throws {
    let sample = try SampleStore()
    let writer = try sample.open()
    try writer.append(5, [1, 2])
    let copy = try ScratchFolder()
    let names = ["users.sqlite", "users.sqlite-wal"]
    for name in names { try copy.write(sample.folder.bytes(of: name), to: name) }
    #expect(try copy.bytes(of: names[1]).count > 0)
    let before = try names.map(copy.bytes)
    let reader = try RowStore(path: "\(copy.path)/users.sqlite", access: .readOnly)
    #expect(try reader.holds(5, [1, 2]))
    try reader.close()
    #expect(try names.map(copy.bytes) == before)
  }

  @Test func `an immutable store is read without a log and without locks`() throws {
    let sample = try SampleStore()
    let writer = try sample.open()
    try writer.append(5, [1, 2, 3, 4, 5, 6])
    try writer.close()
    let copy = try ScratchFolder()
    try copy.write(sample.folder.bytes(of: "users.sqlite"), to: "a name with ? and % and #.sqlite")
    let reader = try RowStore(path: "\(copy.path)/a name with ? and % and #.sqlite", access: .immutable)
    #expect(try reader.holds(5, [1, 2, 3, 4, 5, 6]))
    #expect(throws: StoreError.readOnly) { try reader.append(5, [7]) }
    #expect(try FileSystem.entries(of: copy.path).count == 1)
  }

  @Test func `a closed store refuses everything, and closing twice is harmless`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(5, [1])
    try store.close()
    try store.close()
    #expect(throws: StoreError.closed) { try store.append(5, [2]) }
    #expect(throws: StoreError.closed) { try store.read(5) }
    #expect(throws: StoreError.closed) { try store.fold() }
    #expect(throws: StoreError.closed) { try store.delete(5) }
    #expect(throws: StoreError.closed) { try store.problems() }
    #expect(try FileSystem.entries(of: sample.folder.path) == ["users.sqlite"])
    #expect(try sample.open().holds(5, [1]))
  }

  @Test func `files that are no store of ours are refused by name`() throws {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/users.sqlite"
    func refusal() -> StoreError? {
      do throws(StoreError) {
        _ = try RowStore(path: path, access: .readWrite)
        return nil
      } catch { return error }
    }
    guard case .io(_, _, let code) = refusal() else { throw StoreError.invalidInput("a missing file was opened") }
    #expect(code == ENOENT)
    for bytes in [Array("not a database at all".utf8), Array(repeating: 7, count: 9_000)] {
      try folder.write(bytes, to: "users.sqlite")
      guard case .notAStore = refusal() else {
        Issue.record("\(String(describing: refusal()))")
        continue
      }
    }
    try folder.write([], to: "users.sqlite")
    guard case .notAStore = refusal() else { throw StoreError.invalidInput("an empty file was opened") }
  }

  @Test func `another application's, a newer and a changed database are told apart`() throws {
    for (change, check) in [
      ("PRAGMA application_id = 5", { if case .notAStore = $0 { true } else { false } }),
      ("PRAGMA user_version = 2", { if case .newerFormat(_, 2, 1) = $0 { true } else { false } }),
      ("PRAGMA user_version = 0", { if case .notAStore = $0 { true } else { false } }),
      ("CREATE INDEX extra ON tail(user)", { if case .damaged = $0 { true } else { false } }),
      ("CREATE TABLE extra(a)", { if case .damaged = $0 { true } else { false } }),
      (
        "CREATE TRIGGER extra AFTER INSERT ON tail BEGIN SELECT 1; END",
        { if case .damaged = $0 { true } else { false } }
      ),
      ("ALTER TABLE tail ADD COLUMN extra", { if case .damaged = $0 { true } else { false } }),
      ("DROP TABLE generation", { if case .damaged = $0 { true } else { false } }),
    ] as [(String, (StoreError) -> Bool)] {
      let sample = try SampleStore()
      try SideDatabase(sample.path).execute(change)
      do {
        _ = try sample.open()
        Issue.record("opened after \(change)")
      } catch let error as StoreError {
        #expect(check(error), "\(change): \(error)")
      }
    }
  }
}
