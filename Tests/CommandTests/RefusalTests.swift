/// Every command that opens a store, given things that are none: the message names the path and the reason, the exit
/// code is 65, and nothing that was there changes.

import CKVDBCommand
import CSQLite
import Foundation
import Testing

struct RefusalTests {
  private static let commands: [[String]] = [
    ["append", "S", "--events", "events.tsv"], ["append", "S", "--input", "input"],
    ["attend", "S", "--queries", "queries", "--output", "out", "--attention", "softmax"],
    ["dump", "S"], ["delete", "S", "--user", "7"], ["vacuum", "S"], ["verify", "S"], ["stat", "S"],
  ]

  /// A folder with inputs that would do for a store.
  private func folder() throws -> Folder {
    let folder = try Folder()
    try folder.smallStore("good")
    try folder.tensors("input", [.integers("user", [7]), .floats("embedding", [1, 2], [1, 0])])
    try folder.tensors("queries", [.integers("user", [7]), .floats("query", [1, 1, 4], [0, 0, 0, 0])])
    return folder
  }

  private func expectRefusal(_ folder: Folder, _ command: [String], _ store: String) throws -> String {
    let before = try folder.bytes(below: ".")
    let run = try folder.ckvdb(command.map { $0 == "S" ? store : $0 })
    #expect(run.status == 65, "\(command): \(run.status) \(run.output)\(run.complaint)")
    #expect(run.complaint.hasPrefix("ckvdb: \(store)"), "\(command): \(run.complaint)")
    #expect(run.complaint.split(separator: "\n").count == 1)
    #expect(try folder.bytes(below: ".") == before, "\(command)")
    return run.complaint
  }

  @Test(arguments: commands)
  func `what is no store is refused`(command: [String]) throws {
    let folder = try folder()
    try FileManager.default.createDirectory(atPath: folder("empty"), withIntermediateDirectories: false)
    try folder.write("file", "text")
    try FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: "good")
    #expect(try expectRefusal(folder, command, "none") == "ckvdb: none: not a store: nothing is there\n")
    #expect(
      try expectRefusal(folder, command, "empty") == "ckvdb: empty: not a store: it holds no file users.sqlite\n")
    #expect(try expectRefusal(folder, command, "file") == "ckvdb: file: not a store: it is not a directory\n")
    #expect(try expectRefusal(folder, command, "link") == "ckvdb: link: not a store: it is a symbolic link\n")
  }

  @Test(arguments: commands)
  func `a foreign database is refused and stays as it is`(command: [String]) throws {
    let folder = try folder()
    try FileManager.default.createDirectory(atPath: folder("foreign"), withIntermediateDirectories: false)
    var connection: OpaquePointer?
    #expect(sqlite3_open(folder("foreign/users.sqlite"), &connection) == SQLITE_OK)
    #expect(
      sqlite3_exec(connection, "CREATE TABLE notes(text); INSERT INTO notes VALUES('mine')", nil, nil, nil) == SQLITE_OK
    )
    #expect(sqlite3_close(connection) == SQLITE_OK)
    _ = try expectRefusal(folder, command, "foreign")
    try FileManager.default.createDirectory(atPath: folder("text"), withIntermediateDirectories: false)
    try folder.write("text/users.sqlite", String(repeating: "no database ", count: 2_000))
    _ = try expectRefusal(folder, command, "text")
  }

  @Test(arguments: commands)
  func `a store without its pool, or with a pool cut short, is refused`(command: [String]) throws {
    let folder = try folder()
    let name = try folder.shell("cd good; ls | grep pool").output.trimmingCharacters(in: .whitespacesAndNewlines)
    let whole = try Data(contentsOf: URL(fileURLWithPath: folder("good/\(name)")))
    for length in [0, 7, 100, whole.count - 1] {
      try folder.write("good/\(name)", whole.prefix(length))
      _ = try expectRefusal(folder, command, "good")
    }
    try FileManager.default.removeItem(atPath: folder("good/\(name)"))
    let run = try folder.ckvdb(command.map { $0 == "S" ? "good" : $0 })
    #expect([65, 74].contains(run.status) && run.complaint.hasPrefix("ckvdb: good/pool-"), "\(run.complaint)")
  }
}
