import CacheTypes
import Foundation
import RowStorage
import Testing

/// What a connection is set to before it believes a byte of a database.
struct HardeningTests {
  static let wanted = [
    "defensive": 1, "trusted_schema": 0, "triggers": 0, "views": 0, "load_extension": 0, "attached": 0,
    "cell_size_check": 1, "mmap_size": 0, "secure_delete": 1, "wal_autocheckpoint": 0,
  ]

  @Test func `every connection is hardened, however the store was opened`() throws {
    let sample = try SampleStore()
    for access in [RowStore.Access.readWrite, .readOnly, .immutable] {
      let settings = try sample.open(access).connectionSettings()
      #expect(settings.count == (access == .readWrite ? 2 : 1))
      for found in settings { #expect(found == Self.wanted, "\(access)") }
    }
  }

  @Test func `nothing can be attached after a vacuum either`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(5, [1, 2, 3])
    _ = try store.vacuum(VacuumPlan(pageByteCount: 8_192)) { _, _ in }
    for found in try store.connectionSettings() { #expect(found == Self.wanted) }
  }

  @Test func `a database without reserved bytes is refused, with its own schema even`() throws {
    let sample = try SampleStore()
    let plain = "\(sample.folder.path)/plain.sqlite"
    try PlainDatabase.make(plain, tables: SpecificationTests.text("format-1.sql"))
    do throws(StoreError) {
      _ = try RowStore(path: plain, access: .readWrite)
      Issue.record("opened")
    } catch {
      guard case .notAStore = error else {
        Issue.record("\(error)")
        return
      }
    }
  }

  @Test func `a database is not opened through a link, nor through a link on the way`() throws {
    let sample = try SampleStore()
    let link = "\(sample.folder.path)/link.sqlite"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: sample.path)
    let folder = "\(sample.folder.path)/folder"
    try FileManager.default.createSymbolicLink(atPath: folder, withDestinationPath: sample.folder.path)
    for path in [link, "\(folder)/users.sqlite"] {
      for access in [RowStore.Access.readWrite, .readOnly] {
        guard case .io("open", path, _)? = thrownOpening(path, access) else {
          Issue.record("\(path) was opened")
          continue
        }
      }
    }
  }

  private func thrownOpening(_ path: String, _ access: RowStore.Access) -> StoreError? {
    do throws(StoreError) {
      _ = try RowStore(path: path, access: access)
      return nil
    } catch { return error }
  }
}
