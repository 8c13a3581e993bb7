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
}
