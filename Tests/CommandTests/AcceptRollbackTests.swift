import CKVDBCommand
import Foundation
import Testing

struct AcceptRollbackTests {
  /// A store whose database is the one before its last commit.
  private func rolledBack() throws -> Folder {
    let folder = try Folder()
    try folder.smallStore()
    _ = try folder.shell("cp s.ckv/users.sqlite old")
    #expect(try folder.ckvdb("append", "s.ckv", "--events", "-", input: "7\t1\t103\n").status == 0)
    _ = try folder.shell("cp old s.ckv/users.sqlite")
    return folder
  }

  private static let refused = [
    ["append", "s.ckv", "--events", "events.tsv"], ["dump", "s.ckv"], ["vacuum", "s.ckv"],
    ["delete", "s.ckv", "--user", "7"],
  ]

  @Test(arguments: refused)
  func `a rolled-back store is refused with the number of lost commits, and nothing changes`(command: [String]) throws {
    let folder = try rolledBack()
    let before = try folder.bytes(below: "s.ckv")
    let run = try folder.ckvdb(command)
    #expect(run.status == 65 && run.output.isEmpty)
    #expect(
      run.complaint
        == "ckvdb: s.ckv/users.sqlite: rolled back by 1 commit: --accept-rollback goes on without what is lost\n")
    #expect(try folder.bytes(below: "s.ckv") == before)
  }

  @Test func `stat and verify say what is lost and change nothing`() throws {
    let folder = try rolledBack()
    let before = try folder.bytes(below: "s.ckv")
    let stat = try folder.ckvdb("stat", "s.ckv")
    #expect(stat.status == 0 && stat.output.contains("\n  commits    rolled back by 1 commit\n"), "\(stat.output)")
    let json = try folder.ckvdb("stat", "s.ckv", "--json")
    #expect(json.output.contains(#""watermark":"rolled back","lost_commits":1"#), "\(json.output)")
    let verify = try folder.ckvdb("verify", "s.ckv")
    #expect(verify.status == 65)
    #expect(verify.output == "rolled back by 1 commit\n2 users, 3 positions, 2 rows: 1 problem\n", "\(verify.output)")
    #expect(try folder.bytes(below: "s.ckv") == before)
  }

  @Test func `a loss that was accepted is told once`() throws {
    let folder = try rolledBack()
    let reading = try folder.ckvdb("dump", "s.ckv", "--accept-rollback")
    #expect(reading.status == 0 && reading.complaint == "ckvdb: s.ckv: rolled back by 1 commit, as accepted\n")
    #expect(try folder.ckvdb("dump", "s.ckv").status == 65)
    let writing = try folder.ckvdb("append", "s.ckv", "--events", "-", "--accept-rollback", input: "7\t1\t103\n")
    #expect(writing.status == 0 && writing.complaint == "ckvdb: s.ckv: rolled back by 1 commit, as accepted\n")
    let after = try folder.ckvdb("verify", "s.ckv")
    #expect(after.status == 0 && after.output == "2 users, 4 positions, 3 rows: no problem\n", "\(after.output)")
    #expect(try folder.ckvdb("dump", "s.ckv").complaint.isEmpty)
  }

  @Test func `a missing watermark is refused, one that cannot be read is told`() throws {
    let folder = try Folder()
    try folder.smallStore()
    _ = try folder.shell("mv s.ckv/watermark kept")
    let missing = try folder.ckvdb("dump", "s.ckv")
    #expect(
      missing.status == 65 && missing.complaint.hasPrefix("ckvdb: s.ckv/watermark: damaged: the watermark is missing"))
    try folder.write("s.ckv/watermark", Array(repeating: 0, count: 8_192))
    let unreadable = try folder.ckvdb("dump", "s.ckv")
    #expect(unreadable.status == 0 && unreadable.complaint.hasPrefix("ckvdb: s.ckv: the watermark cannot be read"))
    _ = try folder.shell("mv kept s.ckv/watermark")
    #expect(try folder.ckvdb("dump", "s.ckv").complaint.isEmpty)
  }
}
