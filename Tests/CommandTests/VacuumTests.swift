import CKVDBCommand
import CollectiveKV
import Testing

struct VacuumTests {
  @Test func `vacuum says before and after`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let dump = try folder.ckvdb("dump", "s.ckv").output
    let run = try folder.ckvdb("vacuum", "s.ckv")
    #expect(run.status == 0 && run.complaint.isEmpty)
    let lines = run.output.split(separator: "\n")
    #expect(lines.count == 3, "\(run.output)")
    #expect(lines[0].wholeMatch(of: #/before   \d+\.\d kB; up to \d+\.\d kB more are needed meanwhile/#) != nil)
    #expect(lines[1].wholeMatch(of: #/after    \d+\.\d kB, \d+\.\d\d % of \d+\.\d kB/#) != nil)
    #expect(lines[2].wholeMatch(of: #/folded   [02] rows/#) != nil)
    #expect(try folder.ckvdb("dump", "s.ckv").output == dump)
  }

  @Test(arguments: ["f32", "bf16", "i8"])
  func `vacuum migrates to another element type and page size`(element: String) throws {
    let folder = try Folder()
    try folder.smallStore()
    let run = try folder.ckvdb("vacuum", "s.ckv", "--element", element, "--page-size", "16384")
    #expect(run.status == 0 && run.output.contains("\nencoded  2 users anew\n"), "\(run.output)\(run.complaint)")
    let stat = try folder.ckvdb("stat", "s.ckv", "--json").output
    #expect(stat.contains("\"element\":\"\(element)\"") && stat.contains("\"page_bytes\":16384"))
    #expect(try folder.ckvdb("verify", "s.ckv").status == 0)
  }

  @Test func `another page size while the store is in use is exit code 75`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let store = try CacheStore.open(at: folder("s.ckv"))
    #expect(try store.length(of: 7) == 2)
    let run = try folder.ckvdb("vacuum", "s.ckv", "--page-size", "4096")
    #expect(run.status == 75 && run.complaint.hasPrefix("ckvdb: s.ckv"), "\(run.complaint)")
    #expect(try store.length(of: 7) == 2)
    try store.close()
  }
}
