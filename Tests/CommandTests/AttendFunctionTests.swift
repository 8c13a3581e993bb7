import CKVDBCommand
import Foundation
import PoolStorage
import Testing

/// The attention functions from the command line, on a store whose numbers can be checked by hand: user 7 has the keys
/// [1, 10, 11, 12], [-2, 13, 14, 15] and the values [0, 20, 21, 22], [3, 23, 24, 25].
struct AttendFunctionTests {
  private func attend(_ folder: Folder, _ tensors: [TestTensor], _ attention: String, _ options: String...) throws
    -> Run
  {
    try folder.tensors("q", tensors)
    return try folder.ckvdb(
      ["attend", "s.ckv", "--queries", "q", "--output", "o", "--attention", attention] + options)
  }

  private func store() throws -> Folder {
    let folder = try Folder()
    try folder.smallStore("s.ckv", "--element", "f32")
    return folder
  }

  private let user = TestTensor.integers("user", [7])
  private let query = TestTensor.floats("query", [1, 1, 4], [0, 0, 0, 0])
  private let early: [Float] = [0, 20, 21, 22]
  private let late: [Float] = [3, 23, 24, 25]

  @Test func `topk keeps the greatest dot products, of equal ones the latest`() throws {
    let folder = try store()
    #expect(try attend(folder, [user, query], "topk", "--top", "1").status == 0)
    #expect(try folder.read("o").floats("output") == late)
    let first = TestTensor.floats("query", [1, 1, 4], [1, 0, 0, 0])
    #expect(try attend(folder, [user, first], "topk", "--top", "1").status == 0)
    #expect(try folder.read("o").floats("output") == early)
    #expect(try attend(folder, [user, query], "topk", "--top", "9").status == 0)
    #expect(try folder.read("o").floats("output") == [1.5, 21.5, 22.5, 23.5])
  }

  @Test func `select keeps what the search queries find`() throws {
    let folder = try store()
    let two = TestTensor.floats("query", [1, 2, 4], Array(repeating: 0, count: 8))
    let searches = TestTensor.floats("select.query", [1, 2, 4], [1, 0, 0, 0, -1, 0, 0, 0])
    #expect(try attend(folder, [user, two, searches], "select", "--top", "1").status == 0)
    #expect(try folder.read("o").floats("output") == early + late)
    #expect(try attend(folder, [user, two, searches], "select", "--top", "1", "--select-layer", "0").status == 0)
    #expect(try folder.read("o").floats("output") == early + late)
  }

  @Test func `hash functions take the queries' rotations`() throws {
    let folder = try store()
    let query = TestTensor.floats("query", [1, 1, 4], [1, 0, 0, 0])
    // The first key's sign is the query's, the second key's is not.
    let simhash = TestTensor.floats("rotations.simhash", [2, 4], [1, 0, 0, 0, 0, 0, 0, 0])
    #expect(try attend(folder, [user, query, simhash], "simhash", "--top", "1").status == 0)
    #expect(try folder.read("o").floats("output") == early)
    let sdim = TestTensor.floats("rotations.sdim", [2, 1, 4], [1, 0, 0, 0, 0, 0, 0, 0])
    #expect(try attend(folder, [user, query, sdim], "sdim-sum").status == 0)
    #expect(try folder.read("o").floats("output") == [1.5, 31.5, 33, 34.5])
    #expect(try attend(folder, [user, query, sdim], "sdim").status == 0)
    let output = try #require(try folder.read("o").floats("output"))
    #expect(output.reduce(0) { $0 + $1 * $1 }.squareRoot() > 0.9 && output.allSatisfy { $0 < 1 })
  }

  @Test func `silu weighs by the scaled dot product, with a bias per distance`() throws {
    let folder = try store()
    let query = TestTensor.floats("query", [1, 1, 4], [0, 0, 0, 0])
    #expect(try attend(folder, [user, query], "silu", "--divisor", "2").status == 0)
    #expect(try folder.read("o").floats("output") == [0, 0, 0, 0])
    // silu(100) = 100: the latest position counts 100 / 50, the one before nothing.
    let bias = TestTensor.floats("position_bias", [3], [100, 0, 1])
    #expect(try attend(folder, [user, query, bias], "silu-bias", "--divisor", "50").status == 0)
    #expect(try folder.read("o").floats("output") == late.map { 2 * $0 })
  }

  @Test func `rotations and the divisor may be the model's`() throws {
    let folder = try Folder()
    try folder.smallModel("plain")
    let plain = try folder.read("plain")
    var tensors: [TestTensor] = []
    for info in plain.tensors {
      tensors.append(.floats(info.name, info.shape, try #require(try plain.floats(info.name))))
    }
    tensors.append(.floats("layers.0.rotations.simhash", [1, 4], [1, 0, 0, 0]))
    tensors.append(.floats("layers.0.rotations.sdim", [1, 1, 4], [1, 0, 0, 0]))
    try folder.tensors("model", tensors, metadata: plain.metadata.merging(["ckvdb.divisor": "50"]) { $1 })
    #expect(try folder.ckvdb("init", "s.ckv", "--model", "model", "--element", "f32").status == 0)
    try folder.write("events.tsv", "7\t0\t100\n7\t3\t101\n")
    #expect(try folder.ckvdb("append", "s.ckv", "--events", "events.tsv").status == 0)
    let query = TestTensor.floats("query", [1, 1, 4], [1, 0, 0, 0])
    #expect(try attend(folder, [user, query], "simhash", "--top", "1").status == 0)
    #expect(try folder.read("o").floats("output") == early)
    #expect(try attend(folder, [user, query], "sdim-sum").status == 0)
    #expect(try folder.read("o").floats("output") == early)
    let other = TestTensor.floats("rotations.sdim", [1, 1, 4], [0, 0, 0, 1])
    #expect(try attend(folder, [user, query, other], "sdim-sum").status == 0)
    #expect(try folder.read("o").floats("output") == [0, 0, 0, 0])
    let bias = TestTensor.floats("position_bias", [2], [100, 0])
    let still = TestTensor.floats("query", [1, 1, 4], [0, 0, 0, 0])
    #expect(try attend(folder, [user, still, bias], "silu-bias").status == 0)
    #expect(try folder.read("o").floats("output") == late.map { 2 * $0 })
  }

  @Test func `tensors that a function needs are refused by name and row`() throws {
    let folder = try store()
    let cases: [(String, [String], [TestTensor], String)] = [
      ("select", ["--top", "1"], [], "q: no tensor \"select.query\", which select needs"),
      (
        "select", ["--top", "1"], [.floats("select.query", [1, 1, 3], [0, 0, 0])],
        "q: tensor \"select.query\" has shape [1, 1, 3], expected [1, 1, 4]"
      ),
      (
        "select", ["--top", "1"], [.floats("select.query", [1, 1, 4], [0, .nan, 0, 0])],
        "q: tensor \"select.query\" at row 0 holds a number that is not finite"
      ),
      (
        "select", ["--top", "1", "--select-layer", "4"], [.floats("select.query", [1, 1, 4], [0, 0, 0, 0])],
        "s.ckv: layer 4: the model has 1 layer"
      ),
      (
        "simhash", ["--top", "1"], [],
        "s.ckv: simhash needs rotations: the call brings none, and the model has no layers.0.rotations.simhash"
      ),
      (
        "simhash", ["--top", "1"], [.floats("rotations.simhash", [2, 3], Array(repeating: 1, count: 6))],
        "q: tensor \"rotations.simhash\" has shape [2, 3], expected [b, 4]"
      ),
      (
        "simhash", ["--top", "1"], [.floats("rotations.simhash", [2, 4], [1, 1, 1, 1, 1, .infinity, 1, 1])],
        "q: tensor \"rotations.simhash\" at row 1 holds a number that is not finite"
      ),
      (
        "sdim", [], [.floats("rotations.sdim", [2, 4], Array(repeating: 1, count: 8))],
        "q: tensor \"rotations.sdim\" has shape [2, 4], expected [G, t, 4]"
      ),
      (
        "sdim-sum", [], [],
        "s.ckv: sdim needs rotations: the call brings none, and the model has no layers.0.rotations.sdim"
      ),
      ("silu", [], [], "s.ckv: silu needs a divisor: neither the call nor the model brings one for layer 0"),
      ("silu-bias", ["--divisor", "1"], [], "q: no tensor \"position_bias\", which silu-bias needs"),
      (
        "silu-bias", ["--divisor", "1"], [.floats("position_bias", [1, 2], [1, 1])],
        "q: tensor \"position_bias\" has shape [1, 2], expected one dimension"
      ),
      (
        "silu-bias", ["--divisor", "1"], [.floats("position_bias", [2], [1, .nan])],
        "q: tensor \"position_bias\" at row 1 holds a number that is not finite"
      ),
    ]
    for (attention, options, tensors, message) in cases {
      try folder.tensors("q", [user, query] + tensors)
      let run = try folder.ckvdb(
        ["attend", "s.ckv", "--queries", "q", "--output", "o", "--attention", attention] + options)
      #expect(run.status == 65 && run.output.isEmpty)
      #expect(run.complaint == "ckvdb: \(message)\n")
    }
    let short = TestTensor.floats("position_bias", [1], [1])
    let run = try attend(folder, [user, query, short], "silu-bias", "--divisor", "1")
    #expect(run.status == 65)
    #expect(
      run.complaint == """
        ckvdb: q: request 0: 1 position biases for a query that sees 2 positions
        ckvdb: q: 1 of 1 request failed, no output is written

        """)
    #expect(!FileManager.default.fileExists(atPath: folder("o")))
  }
}
