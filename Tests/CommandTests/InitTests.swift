import CKVDBCommand
import Foundation
import Testing

struct InitTests {
  @Test func `init says what it made`() throws {
    let folder = try Folder()
    try folder.smallModel()
    let run = try folder.ckvdb("init", "s.ckv", "--model", "model.safetensors", "--keep-items", "--element", "i8")
    let digest = try #require(run.output.firstMatch(of: #/[0-9a-f]{32}/#)).output
    #expect(run.status == 0 && run.complaint.isEmpty)
    #expect(
      run.output == """
        made s.ckv
          model      \(digest)
          layer 0    key 1 + 3 from 2 rows; value 1 + 3 from 2 rows; 1 head
          embedding  2 numbers, brought for 4 items
          position   2.25 bytes (i8); full keys and values in f16: 16 bytes
          keeps      items; pages of 8,192 bytes

        """)
  }

  @Test func `init leaves what is at its path alone`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let before = try folder.bytes(below: "s.ckv")
    let run = try folder.ckvdb("init", "s.ckv", "--model", "model.safetensors")
    #expect(run.status == 65)
    #expect(run.complaint == "ckvdb: s.ckv: already exists\n")
    #expect(try folder.bytes(below: "s.ckv") == before)
  }

  @Test func `a store is the owner's alone`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let run = try folder.shell("stat -c '%a %F' s.ckv s.ckv/* | sort -u")
    #expect(
      run.output == "600 regular empty file\n600 regular file\n700 directory\n"
        || run.output == "600 regular file\n700 directory\n")
  }

  @Test(arguments: [
    ("missing.safetensors", "ckvdb: missing.safetensors: open: No such file or directory\n", Int32(74)),
    ("short", "ckvdb: short: invalid model: the file has 3 bytes, expected at least 8\n", 65),
    ("text", "ckvdb: text: invalid model: byte 0: a header of 2334675642004828012 bytes, the limit is 100000000\n", 65),
    (".", "ckvdb: . is not a regular file\n", 65),
  ])
  func `a model that is none is named and nothing is made`(model: String, message: String, status: Int32) throws {
    let folder = try Folder()
    try folder.write("short", "abc")
    try folder.write("text", "lots of mere text")
    let run = try folder.ckvdb("init", "s.ckv", "--model", model)
    #expect(run.status == status)
    #expect(run.complaint == message)
    #expect(try folder.shell("ls -A | grep -v '^\\.[0-9A-F-]*\\.'").output == "short\ntext\n")
  }

  @Test func `a model without its pools is refused with the tensor's name`() throws {
    let folder = try Folder()
    try folder.tensors(
      "m", [.floats("layers.0.key.router.weight", [2, 2], [1, 0, 0, 1])],
      metadata: ["ckvdb.format": "1", "ckvdb.heads": "1"])
    let run = try folder.ckvdb("init", "s.ckv", "--model", "m")
    #expect(run.status == 65)
    #expect(
      run.complaint.hasPrefix("ckvdb: m: invalid model: ") && run.complaint.contains("layers.0.key"), "\(run.complaint)"
    )
  }

  @Test func `a model truncated anywhere is refused`() throws {
    let folder = try Folder()
    let whole = try Data(contentsOf: URL(fileURLWithPath: try folder.smallModel()))
    for length in stride(from: 0, to: whole.count, by: 97) {
      try folder.write("m", whole.prefix(length))
      let run = try folder.ckvdb("init", "s.ckv", "--model", "m")
      #expect(run.status == 65, "\(length) bytes: \(run.complaint)")
    }
    #expect(!FileManager.default.fileExists(atPath: folder("s.ckv")))
  }
}
