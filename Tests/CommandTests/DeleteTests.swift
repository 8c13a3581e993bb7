import CKVDBCommand
import CollectiveKV
import Testing

struct DeleteTests {
  @Test func `a deleted user is gone and the others stay`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let run = try folder.ckvdb("delete", "s.ckv", "--user", "7")
    #expect(run.status == 0 && run.output == "deleted user 7: 2 positions\n")
    #expect(try folder.ckvdb("dump", "s.ckv").output.hasPrefix("user 9, 1 position\n"))
    let again = try folder.ckvdb("delete", "s.ckv", "--user", "7")
    #expect(again.status == 65 && again.complaint == "ckvdb: s.ckv: user 7 is unknown\n")
  }

  @Test func `byte users can be deleted`() throws {
    let folder = try Folder()
    try folder.smallStore()
    _ = try folder.ckvdb("append", "s.ckv", "--events", "-", input: "x'07' 1\n")
    #expect(try folder.ckvdb("delete", "s.ckv", "--user", "x'07'").output == "deleted user x'07': 1 position\n")
    #expect(try folder.ckvdb("verify", "s.ckv").output == "2 users, 3 positions, 2 rows: no problem\n")
  }

  @Test func `a reader of older pages makes the erasure pending`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let store = try CacheStore.open(at: folder("s.ckv"), options: OpenOptions(access: .readOnly))
    var run: Run?
    try store.forEachHistory { history in
      if run == nil { run = try folder.ckvdb("delete", "s.ckv", "--user", "9") }
    }
    try store.close()
    #expect(run?.status == 0)
    #expect(
      run?.output == """
        deleted user 9: 1 position
        another process is still reading older pages: their erasure is pending and will be finished later

        """)
  }
}
