import CKVDBCommand
import CacheTypes
import CollectiveKV
import Foundation
import PoolStorage
import Testing

struct DumpTests {
  @Test func `text is for people`() throws {
    let folder = try Folder()
    try folder.smallStore("s.ckv", "--keep-items", "--keep-timestamps")
    let run = try folder.ckvdb("dump", "s.ckv")
    #expect(run.status == 0 && run.complaint.isEmpty)
    #expect(
      run.output == """
        user 7, 2 positions
          0  item 0  timestamp 100  I_k 0  I_v 0  u_k 1.0  u_v 0.0
          1  item 3  timestamp 101  I_k 1  I_v 1  u_k -2.0  u_v 3.0
        user 9, 1 position
          0  item 1  timestamp 102  I_k 1  I_v 1  u_k 0.0  u_v 1.0

        """)
    #expect(
      try folder.ckvdb("dump", "s.ckv", "--user", "7", "--positions", "1...", "--reconstruct").output == """
        user 7, 2 positions
          1  item 3  timestamp 101  I_k 1  I_v 1  u_k -2.0  u_v 3.0
              K -2.0 13.0 14.0 15.0
              V 3.0 23.0 24.0 25.0

        """)
  }

  @Test func `jsonl and csv show the same numbers`() throws {
    let folder = try Folder()
    try folder.smallStore()
    #expect(
      try folder.ckvdb("dump", "s.ckv", "--format", "jsonl", "--positions", "0", "--reconstruct").output == """
        {"user":7,"position":0,"layers":[{"layer":0,"key_index":0,"value_index":0,"key_user":[1.0],"value_user":[0.0],\
        "K":[1.0,10.0,11.0,12.0],"V":[0.0,20.0,21.0,22.0]}]}
        {"user":9,"position":0,"layers":[{"layer":0,"key_index":1,"value_index":1,"key_user":[0.0],"value_user":[1.0],\
        "K":[0.0,13.0,14.0,15.0],"V":[1.0,23.0,24.0,25.0]}]}

        """)
    #expect(
      try folder.ckvdb("dump", "s.ckv", "--format", "csv", "--user", "9", "--reconstruct").output == """
        user,position,layers.0.key.index,layers.0.value.index,layers.0.key.user.0,layers.0.value.user.0,layers.0.K.0,\
        layers.0.K.1,layers.0.K.2,layers.0.K.3,layers.0.V.0,layers.0.V.1,layers.0.V.2,layers.0.V.3
        9,0,1,1,0.0,1.0,0.0,13.0,14.0,15.0,1.0,23.0,24.0,25.0

        """)
  }

  @Test func `several layers stand below one another, and one can be chosen`() throws {
    let folder = try Folder()
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("CollectiveKVTests/Cases/search").path
    _ = try folder.ckvdb("init", "s.ckv", "--model", source + "/model.safetensors", "--element", "bf16")
    _ = try folder.ckvdb("append", "s.ckv", "--input", source + "/history.safetensors")
    let lines = try folder.ckvdb("dump", "s.ckv").output.split(separator: "\n")
    #expect(lines[0].hasPrefix("user ") && lines[1] == "  0")
    #expect(lines[2].hasPrefix("    layer 0  I_k ") && !lines[2].contains("I_v") && lines[2].contains("u_v"))
    #expect(lines[3].hasPrefix("    layer 1  I_k ") && !lines[3].contains("u_v"))
    let one = try folder.ckvdb("dump", "s.ckv", "--layer", "1").output.split(separator: "\n")
    #expect(one[2] == lines[3])
    let both = try folder.ckvdb("dump", "s.ckv", "--reconstruct", "--format", "safetensors", "--output", "o")
    #expect(both.status == 64 && both.complaint.contains("choose it with --layer"))
    let beyond = try folder.ckvdb("dump", "s.ckv", "--layer", "2")
    #expect(beyond.status == 65 && beyond.complaint == "ckvdb: s.ckv: layer 2: the model has 2 layers\n")
  }

  @Test(arguments: ["f32", "f16", "bf16"])
  func `safetensors go back in as they came out`(element: String) throws {
    let folder = try Folder()
    try folder.smallStore("s.ckv", "--keep-items", "--keep-timestamps", "--element", element)
    #expect(
      try folder.ckvdb("dump", "s.ckv", "--format", "safetensors", "--output", "d").status == 0)
    let file = try folder.read("d")
    #expect(try file.integers("user") == [7, 7, 9])
    #expect(try file.integers("position") == [0, 1, 0])
    #expect(file.info("layers.0.key.user")?.shape == [3, 1])
    _ = try folder.ckvdb(
      "init", "t.ckv", "--model", "model.safetensors", "--keep-items", "--keep-timestamps", "--element", element)
    #expect(try folder.ckvdb("append", "t.ckv", "--input", "d").status == 0)
    #expect(try folder.ckvdb("dump", "t.ckv").output == (try folder.ckvdb("dump", "s.ckv").output))
  }

  @Test func `byte users go back in as they came out`() throws {
    let folder = try Folder()
    try folder.smallModel()
    for name in ["s.ckv", "t.ckv"] { _ = try folder.ckvdb("init", name, "--model", "model.safetensors") }
    _ = try folder.ckvdb("append", "s.ckv", "--events", "-", input: "x'0a0b' 1\nx'' 2\nx'0a0b' 3\n")
    _ = try folder.ckvdb("dump", "s.ckv", "--format", "safetensors", "--output", "d")
    #expect(try folder.ckvdb("append", "t.ckv", "--input", "d").status == 0)
    #expect(try folder.ckvdb("dump", "t.ckv").output == (try folder.ckvdb("dump", "s.ckv").output))
    _ = try folder.ckvdb("append", "s.ckv", "--events", "-", input: "5 1\n")
    let mixed = try folder.ckvdb("dump", "s.ckv", "--format", "safetensors", "--output", "e")
    #expect(mixed.status == 65 && mixed.complaint.contains("integer ids and byte ids"))
    #expect(!FileManager.default.fileExists(atPath: folder("e")))
  }

  @Test func `an empty store dumps nothing in every format`() throws {
    let folder = try Folder()
    try folder.smallModel()
    _ = try folder.ckvdb("init", "s.ckv", "--model", "model.safetensors")
    for format in ["text", "jsonl"] { #expect(try folder.ckvdb("dump", "s.ckv", "--format", format).output.isEmpty) }
    #expect(try folder.ckvdb("dump", "s.ckv", "--format", "csv").output.split(separator: "\n").count == 1)
    #expect(try folder.ckvdb("dump", "s.ckv", "--format", "safetensors", "--output", "d").status == 0)
    #expect(try folder.read("d").info("layers.0.value.user")?.shape == [0, 1])
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "d").output.hasPrefix("0 rows of 0 users"))
  }

  @Test func `dump changes no byte of a store in use`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let store = try CacheStore.open(at: folder("s.ckv"))
    try store.append(user: 11, items: [1, 2, 3])
    let before = try folder.bytes(below: "s.ckv")
    #expect(before.keys.contains { $0.hasSuffix("-wal") })
    for arguments in [[], ["--format", "csv", "--reconstruct"], ["--format", "safetensors", "--output", "d"]] {
      #expect(try folder.ckvdb(["dump", "s.ckv"] + arguments).status == 0)
    }
    #expect(try folder.ckvdb("dump", "s.ckv", "--user", "11").output.hasPrefix("user 11, 3 positions\n"))
    #expect(try folder.bytes(below: "s.ckv") == before)
    try store.close()
  }

  @Test func `dump changes no byte of a store at rest`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let before = try folder.bytes(below: "s.ckv")
    #expect(try folder.ckvdb("dump", "s.ckv").status == 0)
    #expect(try folder.bytes(below: "s.ckv") == before)
  }

  @Test func `a reader that stops early ends dump quietly`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let lines = (0..<20_000).map { "\($0 % 50) \($0 % 4) 0\n" }.joined()
    #expect(try folder.ckvdb("append", "s.ckv", "--events", "-", input: lines).status == 0)
    let run = try folder.shell("ckvdb dump s.ckv | head -1")
    #expect(run.status == 0 && run.complaint.isEmpty && run.output == "user 0, 400 positions\n")
  }

  @Test func `an output appears whole or not at all`() throws {
    let folder = try Folder()
    try folder.smallStore()
    try folder.write("o", "before")
    #expect(
      try folder.ckvdb("dump", "s.ckv", "--user", "8", "--output", "o").complaint == "ckvdb: s.ckv: user 8 is unknown\n"
    )
    #expect(try String(contentsOfFile: folder("o"), encoding: .utf8) == "before")
    #expect(try folder.ckvdb("dump", "s.ckv", "--output", "o").status == 0)
    #expect(try String(contentsOfFile: folder("o"), encoding: .utf8) == (try folder.ckvdb("dump", "s.ckv").output))
    for format in ["text", "safetensors"] {
      let nowhere = try folder.ckvdb("dump", "s.ckv", "--format", format, "--output", "no/o")
      #expect(nowhere.status == 74 && nowhere.complaint == "ckvdb: no: open: No such file or directory\n")
      try? FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: "o")
      let link = try folder.ckvdb("dump", "s.ckv", "--format", format, "--output", "link")
      #expect(link.status == 65 && link.complaint.contains("link: not a regular file, so it is not replaced"))
    }
    #expect(try folder.shell("ls -A | grep -c partial").output == "0\n")
  }

  @Test func `a user without history and a range beyond it are told apart`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let unknown = try folder.ckvdb("dump", "s.ckv", "--user", "x'07'")
    #expect(unknown.status == 65 && unknown.complaint == "ckvdb: s.ckv: user x'07' is unknown\n")
    let beyond = try folder.ckvdb("dump", "s.ckv", "--user", "7", "--positions", "2..<9")
    #expect(beyond.status == 0 && beyond.output == "user 7, 2 positions\n")
  }

  @Test(arguments: [0x1.fffffep127, 0x1p-149, -0.1, 16_777_215, 1e-7, 3.4028235e38] as [Float])
  func `a number reads back as the same number`(number: Float) throws {
    let folder = try Folder()
    try folder.smallModel()
    _ = try folder.ckvdb("init", "s.ckv", "--model", "model.safetensors", "--element", "f32")
    try folder.tensors(
      "i",
      [
        .integers("user", [1]), .integers("layers.0.key.index", [0]), .floats("layers.0.key.user", [1, 1], [number]),
        .integers("layers.0.value.index", [0]), .floats("layers.0.value.user", [1, 1], [number]),
      ])
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "i").status == 0)
    let columns = try folder.ckvdb("dump", "s.ckv", "--format", "csv").output.split(separator: "\n")[1].split(
      separator: ",")
    #expect(Float(columns[4]) == number && Float(columns[5]) == number)
  }
}
