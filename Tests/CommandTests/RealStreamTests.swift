/// The main job on real input: a stream of purchases in order of time, appended by the command and read back through
/// the library. It runs where a folder `shared` with the data stands beside the project; the data is nobody's to
/// copy.

import CollectiveKV
import Foundation
import Testing

struct RealStreamTests {
  private static let data = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared/data").path
  private static let events = data + "/online_retail.events.tsv.gz"
  private static let model = data + "/online_retail.model.safetensors"

  @Test(.enabled(if: FileManager.default.fileExists(atPath: events), "the real stream is not there"))
  func `every purchase of the real stream is where the file has it`() throws {
    let folder = try Folder()
    let made = try folder.ckvdb(
      "init", "shop.ckv", "--model", Self.model, "--keep-items", "--keep-timestamps")
    #expect(made.status == 0, "\(made.complaint)")
    let appended = try folder.ckvdb("append", "shop.ckv", "--events", Self.events)
    #expect(appended.status == 0, "\(appended.complaint)")

    let text = try folder.shell("gunzip -c '\(Self.events)'").output
    var items: [UserID: [Int64]] = [:]
    var timestamps: [UserID: [Int64]] = [:]
    for line in text.utf8.split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
      let fields = line.split(separator: UInt8(ascii: "\t")).map { Int64(String(decoding: $0, as: UTF8.self)) }
      let (user, item, time) = (try #require(fields[0]), try #require(fields[1]), try #require(fields[2]))
      items[.integer(user), default: []].append(item)
      timestamps[.integer(user), default: []].append(time)
    }
    #expect(items.count > 4_000)

    let verified = try folder.ckvdb("verify", "shop.ckv")
    #expect(verified.status == 0, "\(verified.output)\(verified.complaint)")
    let store = try CacheStore.open(at: folder("shop.ckv"), options: OpenOptions(access: .readOnly))
    var users = 0
    var differing: [UserID] = []
    try store.forEachHistory { history in
      users += 1
      let isSame =
        history.entries.items == items[history.user] && history.entries.timestamps == timestamps[history.user]
      if !isSame { differing.append(history.user) }
    }
    #expect(users == items.count)
    #expect(differing.isEmpty, "\(differing.prefix(5))")
  }
}
