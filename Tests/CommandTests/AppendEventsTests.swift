import CKVDBCommand
import Foundation
import Testing

struct AppendEventsTests {
  private func store(_ options: String...) throws -> Folder {
    let folder = try Folder()
    try folder.smallModel()
    #expect(
      try folder.ckvdb(["init", "s.ckv", "--model", "model.safetensors", "--element", "f32"] + options).status == 0)
    return folder
  }

  private func csv(_ folder: Folder) throws -> String { try folder.ckvdb("dump", "s.ckv", "--format", "csv").output }

  @Test func `events are stored in their order under their users`() throws {
    let folder = try store("--keep-items", "--keep-timestamps")
    let run = try folder.ckvdb(
      "append", "s.ckv", "--events", "-", input: "9 1 30\n7 0 10\n9 3 20\nx'0a' 2 -5\n7 2 11\n")
    #expect(run.status == 0 && run.complaint.isEmpty)
    #expect(run.output.hasPrefix("5 events of 3 users, "))
    #expect(
      try csv(folder) == """
        user,position,item,timestamp,layers.0.key.index,layers.0.value.index,layers.0.key.user.0,layers.0.value.user.0
        7,0,0,10,0,0,1.0,0.0
        7,1,2,11,0,0,0.5,-0.5
        9,0,1,30,1,1,0.0,1.0
        9,1,3,20,1,1,-2.0,3.0
        x'0a',0,2,-5,0,0,0.5,-0.5

        """)
  }

  @Test func `gzip, a file and standard input in any batches give the same store`() throws {
    let text = (0..<700).map { "\($0 * 37 % 11)\t\($0 * 7 % 4)\t\($0)\n" }.joined()
    var dumps: Set<String> = []
    for (name, batch) in [("plain", "256"), ("gzip", "3"), ("stdin", "1000"), ("stdin-gzip", "256")] {
      let folder = try store("--keep-items", "--keep-timestamps")
      let bytes = name.hasSuffix("gzip") ? InflaterTests.gzip(Array(text.utf8)) : Array(text.utf8)
      let isPiped = name.hasPrefix("stdin")
      if !isPiped { try folder.write("e", bytes) }
      let run = try folder.ckvdb(
        ["append", "s.ckv", "--events", isPiped ? "-" : "e", "--batch", batch], input: Data(isPiped ? bytes : []))
      #expect(run.status == 0 && run.output.hasPrefix("700 events of 11 users, "), "\(run.complaint)")
      dumps.insert(try csv(folder))
    }
    #expect(dumps.count == 1)
  }

  @Test func `events through a named pipe are read`() throws {
    let folder = try store()
    let run = try folder.shell("mkfifo p; { printf '1 2\\n1 3\\n' > p & }; ckvdb append s.ckv --events p")
    #expect(run.status == 0 && run.output.hasPrefix("2 events of 1 user, "), "\(run.complaint)")
  }

  @Test(arguments: [
    ("1 2 3\n2 4 3\n", "e:2: item 4 is not one of the model's 4 items"),
    ("1 2 3\n2 -1 3\n", "e:2: item -1 is not one of the model's 4 items"),
    ("1 2 3\n1 2\n", "e:2: 2 columns, expected user, item and timestamp: the store keeps timestamps"),
    ("1 2 3\nx 2 3\n", "e:2: user 'x' is neither an integer nor at most 255 bytes as x'0a1b'"),
  ])
  func `a bad line stores nothing of its batch`(text: String, message: String) throws {
    let folder = try store("--keep-timestamps")
    try folder.write("e", text)
    let before = try csv(folder)
    let refused = try folder.ckvdb("append", "s.ckv", "--events", "e")
    #expect(refused.status == 65 && refused.output.isEmpty)
    #expect(refused.complaint == "ckvdb: \(message) (nothing was stored before that)\n")
    #expect(try csv(folder) == before)
    let split = try folder.ckvdb("append", "s.ckv", "--events", "e", "--batch", "1")
    #expect(split.status == 65)
    #expect(split.complaint == "ckvdb: \(message) (1 event was stored before that)\n")
    #expect(try csv(folder).split(separator: "\n").count == 2)
  }

  @Test func `a damaged or truncated gzip is refused`() throws {
    let folder = try store()
    let whole = InflaterTests.gzip(Array((0..<300).map { "\($0) 1\n" }.joined().utf8))
    try folder.write("e", whole.dropLast(9))
    let run = try folder.ckvdb("append", "s.ckv", "--events", "e", "--batch", "1000")
    #expect(run.status == 65)
    #expect(
      run.complaint
        == "ckvdb: e: byte \(whole.count - 9): the gzip stream ends early (nothing was stored before that)\n")
    var damaged = whole
    damaged[whole.count - 6] ^= 1
    try folder.write("e", damaged)
    let second = try folder.ckvdb("append", "s.ckv", "--events", "e", "--batch", "1000")
    #expect(second.status == 65 && second.complaint.contains("the gzip stream is damaged (incorrect data check)"))
    #expect(try folder.ckvdb("verify", "s.ckv").output == "0 users, 0 positions, 0 rows: no problem\n")
  }

  @Test func `a stream that was interrupted can be run again`() throws {
    let folder = try store("--keep-items")
    let text = (0..<90).map { "\($0 % 7) \($0 % 4)\n" }
    try folder.write("e", text.joined())
    try folder.write("start", text.prefix(40).joined() + "broken")
    #expect(try folder.ckvdb("append", "s.ckv", "--events", "start", "--batch", "8").status == 65)
    let run = try folder.ckvdb("append", "s.ckv", "--events", "e", "--batch", "9", "--repeats", "skip")
    #expect(run.status == 0)
    #expect(run.output.hasPrefix("90 events of 7 users, 40 of them stored before, "), "\(run.output)\(run.complaint)")
    let whole = try store("--keep-items")
    try whole.write("e", text.joined())
    #expect(try whole.ckvdb("append", "s.ckv", "--events", "e").status == 0)
    #expect(try csv(folder) == (try csv(whole)))
  }

  @Test func `a model without item embeddings takes no events`() throws {
    let folder = try Folder()
    try folder.tensors(
      "m",
      [
        .floats("layers.0.key.router.weight", [2, 2], [1, 0, 0, 1]), .floats("layers.0.key.router.bias", [2], [0, 0]),
        .floats("layers.0.key.pool", [2, 1], [1, 2]),
      ], metadata: ["ckvdb.format": "1", "ckvdb.heads": "1"])
    #expect(try folder.ckvdb("init", "s.ckv", "--model", "m").status == 0)
    let run = try folder.ckvdb("append", "s.ckv", "--events", "-", input: "1 1 1\n")
    #expect(run.status == 65)
    #expect(run.complaint == "ckvdb: s.ckv: the model brings no items.embedding, so it cannot take events\n")
  }

  @Test func `a file that is not there is exit code 74`() throws {
    let folder = try store()
    let run = try folder.ckvdb("append", "s.ckv", "--events", "none.tsv")
    #expect(run.status == 74 && run.complaint == "ckvdb: none.tsv: open: No such file or directory\n")
    let directory = try folder.ckvdb("append", "s.ckv", "--events", ".")
    #expect(
      directory.status == 74
        && directory.complaint == "ckvdb: .: read: Is a directory (nothing was stored before that)\n")
  }
}
