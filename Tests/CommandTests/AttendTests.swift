import CKVDBCommand
import Foundation
import PoolStorage
import Testing

struct AttendTests {
  private func attend(_ folder: Folder, _ tensors: [TestTensor], _ options: String...) throws -> Run {
    try folder.tensors("q", tensors)
    return try folder.ckvdb(
      ["attend", "s.ckv", "--queries", "q", "--output", "o", "--attention", "softmax"] + options)
  }

  private func store() throws -> Folder {
    let folder = try Folder()
    try folder.smallStore("s.ckv", "--element", "f32")
    return folder
  }

  /// The zero query weighs every position that it sees alike.
  @Test func `outputs and lengths come in the order of the requests`() throws {
    let folder = try store()
    let run = try attend(
      folder,
      [.integers("user", [9, 7]), .floats("query", [2, 2, 4], Array(repeating: 0, count: 16))])
    #expect(run.status == 0 && run.complaint.isEmpty)
    #expect(run.output == "2 requests of 2 queries\n")
    let file = try folder.read("o")
    #expect(file.info("output")?.shape == [2, 2, 4])
    #expect(try file.floats("output") == [1, 23, 24, 25, 1, 23, 24, 25, 1.5, 21.5, 22.5, 23.5, 1.5, 21.5, 22.5, 23.5])
    #expect(try file.integers("length") == [1, 2])
  }

  @Test func `a query sees what lies before its position, as far as the window goes`() throws {
    let folder = try store()
    let query = TestTensor.floats("query", [1, 3, 4], Array(repeating: 0, count: 12))
    let user = TestTensor.integers("user", [7])
    let (none, first, second, both): ([Float], [Float], [Float], [Float]) = (
      [0, 0, 0, 0], [0, 20, 21, 22], [3, 23, 24, 25], [1.5, 21.5, 22.5, 23.5]
    )
    #expect(try attend(folder, [user, query, .integers("position", [0, 1, 2], shape: [1, 3])]).status == 0)
    #expect(try folder.read("o").floats("output") == none + first + both)
    #expect(
      try attend(folder, [user, query, .integers("position", [0, 1, 2], shape: [1, 3])], "--window", "1").status == 0)
    #expect(try folder.read("o").floats("output") == none + first + second)
    #expect(try attend(folder, [user, query, .integers("position", [1])]).status == 0)
    #expect(try folder.read("o").floats("output") == first + first + first)
  }

  @Test func `a scale turns the weights`() throws {
    let folder = try store()
    let tensors: [TestTensor] = [.integers("user", [7]), .floats("query", [1, 1, 4], [-1, 0, 0, 0])]
    #expect(try attend(folder, tensors, "--scale", "100").status == 0)
    #expect(try folder.read("o").floats("output") == [3, 23, 24, 25])
  }

  @Test func `every request that fails is named and no output is written`() throws {
    let folder = try store()
    let run = try attend(
      folder,
      [
        .integers("user", [7, 8, 9, 7]), .floats("query", [4, 1, 4], Array(repeating: 0, count: 16)),
        .integers("position", [1, 1, 1, 3]),
      ])
    #expect(run.status == 65 && run.output.isEmpty)
    #expect(
      run.complaint == """
        ckvdb: q: request 1: user 8 is unknown
        ckvdb: q: request 3: user 7: position 3 is beyond the length 2
        ckvdb: q: 2 of 4 requests failed, no output is written

        """)
    #expect(!FileManager.default.fileExists(atPath: folder("o")))
    #expect(try folder.shell("ls -A | grep -c unfinished").output == "0\n")
  }

  @Test func `no requests give an empty output`() throws {
    let folder = try store()
    #expect(try attend(folder, [.integers("user", []), .floats("query", [0, 3, 4], [])]).status == 0)
    #expect(try folder.read("o").info("output")?.shape == [0, 3, 4])
  }

  @Test func `queries that do not fit are refused with the tensor's name`() throws {
    let folder = try store()
    let user = TestTensor.integers("user", [7])
    let query = TestTensor.floats("query", [1, 1, 4], [0, 0, 0, 0])
    let cases: [([TestTensor], String)] = [
      ([query], "no tensor \"user\", nor \"user.bytes\" with \"user.ends\""),
      ([user], "no tensor \"query\""),
      ([user, .floats("query", [1, 4], [0, 0, 0, 0])], "tensor \"query\" has shape [1, 4], expected [1, C, 4]"),
      (
        [user, .floats("query", [1, 2, 2], [0, 0, 0, 0])], "tensor \"query\" has shape [1, 2, 2], expected [1, C, 4]"
      ),
      (
        [user, .floats("query", [1, 1, 4], [0, .nan, 0, 0])],
        "tensor \"query\" at row 0 holds a number that is not finite"
      ),
      ([user, query, .integers("position", [1, 1])], "tensor \"position\" has shape [2], expected [1] or [1, 1]"),
      ([user, query, .integers("position", [-1])], "tensor \"position\" at index 0 is -1, expected 0 or more"),
    ]
    for (tensors, message) in cases {
      let run = try attend(folder, tensors)
      #expect(run.status == 65 && run.complaint == "ckvdb: q: \(message)\n")
    }
    let layer = try attend(folder, [user, query], "--layer", "1")
    #expect(layer.status == 65 && layer.complaint == "ckvdb: s.ckv: layer 1: the model has 1 layer\n")
    try folder.write("q", "no tensors at all")
    let foreign = try folder.ckvdb("attend", "s.ckv", "--queries", "q", "--output", "o", "--attention", "softmax")
    #expect(foreign.status == 65 && foreign.complaint.hasPrefix("ckvdb: q: byte 0: a header of "))
    #expect(!FileManager.default.fileExists(atPath: folder("o")))
  }
}
