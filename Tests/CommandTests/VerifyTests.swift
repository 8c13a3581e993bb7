import CKVDBCommand
import Foundation
import Testing

struct VerifyTests {
  @Test func `a sound store has no problem`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let before = try folder.bytes(below: "s.ckv")
    let run = try folder.ckvdb("verify", "s.ckv")
    #expect(run.status == 0 && run.complaint.isEmpty && run.output == "2 users, 3 positions, 2 rows: no problem\n")
    #expect(try folder.bytes(below: "s.ckv") == before)
  }

  @Test func `a file that does not belong is a problem and exit code 65`() throws {
    let folder = try Folder()
    try folder.smallStore()
    try folder.write("s.ckv/notes.txt", "mine")
    let run = try folder.ckvdb("verify", "s.ckv")
    #expect(run.status == 65)
    #expect(run.output == "notes.txt does not belong to the store\n2 users, 3 positions, 2 rows: 1 problem\n")
    #expect(run.complaint == "ckvdb: s.ckv: 1 problem\n")
  }

  @Test func `a flipped bit is found wherever it is`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let names = try folder.shell("ls s.ckv | grep -E 'pool|sqlite$'").output.split(separator: "\n").map(String.init)
    #expect(names.count == 2)
    for name in names {
      let whole = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder("s.ckv/\(name)"))))
      for place in stride(from: 200, to: whole.count, by: max(whole.count / 7, 1)) {
        var damaged = whole
        damaged[place] ^= 0x10
        try folder.write("s.ckv/\(name)", damaged)
        let run = try folder.ckvdb("verify", "s.ckv")
        #expect(run.status == 65, "\(name), byte \(place): \(run.output)\(run.complaint)")
        #expect(run.complaint.hasPrefix("ckvdb: s.ckv"), "\(run.complaint)")
      }
      try folder.write("s.ckv/\(name)", whole)
    }
    #expect(try folder.ckvdb("verify", "s.ckv").status == 0)
  }

  @Test func `repair copies a sound store whole and leaves it alone`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let before = try folder.bytes(below: "s.ckv")
    let run = try folder.ckvdb("verify", "s.ckv", "--repair", "t.ckv")
    #expect(run.status == 0 && run.complaint.isEmpty, "\(run.complaint)")
    #expect(run.output == "t.ckv: kept 2 users, 3 positions, 2 rows\n")
    #expect(try folder.bytes(below: "s.ckv") == before)
    #expect(try folder.ckvdb("verify", "t.ckv").output == "2 users, 3 positions, 2 rows: no problem\n")
    let again = try folder.ckvdb("verify", "s.ckv", "--repair", "t.ckv")
    #expect(again.status != 0 && again.complaint.contains("already exists"), "\(again.complaint)")
  }

  @Test func `repair with a damaged pool is refused and leaves nothing`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let name = try folder.shell("ls s.ckv | grep pool").output.split(separator: "\n").map(String.init)[0]
    var damaged = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder("s.ckv/\(name)"))))
    damaged[damaged.count - 3] ^= 1
    try folder.write("s.ckv/\(name)", damaged)
    let run = try folder.ckvdb("verify", "s.ckv", "--repair", "t.ckv")
    #expect(run.status == 65 && run.complaint.contains(name), "\(run.complaint)")
    #expect(try folder.shell("ls -A | grep t.ckv").output.isEmpty)
  }
}
