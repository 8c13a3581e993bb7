import CKVDBCommand
import CacheTypes
import Foundation
import PoolStorage
import Testing

struct AppendInputTests {
  private func store(_ options: String...) throws -> Folder {
    let folder = try Folder()
    try folder.smallModel()
    #expect(
      try folder.ckvdb(["init", "s.ckv", "--model", "model.safetensors", "--element", "f32"] + options).status == 0)
    return folder
  }

  private func csv(_ folder: Folder) throws -> [String] {
    try folder.ckvdb("dump", "s.ckv", "--format", "csv").output.split(separator: "\n").dropFirst().map(String.init)
  }

  private func refusal(_ tensors: [TestTensor], _ options: [String] = [], _ arguments: [String] = []) throws -> String {
    let folder = try store()
    if !options.isEmpty {
      try FileManager.default.removeItem(atPath: folder("s.ckv"))
      _ = try folder.ckvdb(["init", "s.ckv", "--model", "model.safetensors"] + options)
    }
    try folder.tensors("i", tensors)
    let before = try folder.bytes(below: "s.ckv")
    let run = try folder.ckvdb(["append", "s.ckv", "--input", "i"] + arguments)
    #expect(run.status == 65 && run.output.isEmpty, "\(run.output)")
    #expect(try folder.bytes(below: "s.ckv") == before, "the store is unchanged")
    return run.complaint
  }

  private let users = TestTensor.integers("user", [7, 9, 7])
  private let embeddings: [Float] = [1, 0, 0, 1, 0.5, -0.5]
  private let expected = ["7,0,0,0,1.0,0.0", "7,1,0,0,0.5,-0.5", "9,0,1,1,0.0,1.0"]

  @Test(arguments: [[3, 2], [3, 1, 2]], [TensorDType.f32, .f16, .bf16])
  func `embeddings are encoded in either shape and any type`(shape: [Int], dtype: TensorDType) throws {
    let folder = try store()
    try folder.tensors("i", [users, .floats("embedding", shape, embeddings, dtype)])
    let run = try folder.ckvdb("append", "s.ckv", "--input", "i")
    #expect(run.status == 0 && run.output.hasPrefix("3 rows of 2 users, "), "\(run.complaint)")
    #expect(try csv(folder) == expected)
  }

  @Test func `items stand in for embeddings that the model brings`() throws {
    let folder = try store()
    try folder.tensors("i", [users, .integers("item", [0, 1, 2])])
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "i").status == 0)
    #expect(try csv(folder) == expected)
  }

  @Test func `entries that were encoded elsewhere are stored as they are`() throws {
    let folder = try store("--keep-items")
    try folder.tensors(
      "i",
      [
        users, .integers("item", [100, 200, 300], .i32),
        .integers("layers.0.key.index", [0, 1, 1], .u8), .floats("layers.0.key.user", [3, 1], [5, 6, 7]),
        .integers("layers.0.value.index", [1, 0, 0]), .floats("layers.0.value.user", [3, 1], [8, 9, -1]),
      ])
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "i").status == 0)
    #expect(try csv(folder) == ["7,0,100,0,1,5.0,8.0", "7,1,300,1,0,7.0,-1.0", "9,0,200,1,0,6.0,9.0"])
  }

  @Test func `users may be bytes, of any length up to the limit`() throws {
    let folder = try store()
    try folder.tensors(
      "i",
      [
        .integers("user.ends", [0, 2, 3]), .floats("embedding", [3, 2], embeddings),
        .integers("user.bytes", [10, 11, 255], .u8),
      ])
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "i").status == 0)
    #expect(try csv(folder).map { $0.split(separator: ",")[0] } == ["x''", "x'0a0b'", "x'ff'"])
  }

  @Test func `stated positions are held against the store`() throws {
    let folder = try store()
    try folder.tensors("i", [users, .floats("embedding", [3, 2], embeddings), .integers("position", [0, 0, 1])])
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "i", "--batch", "1").status == 0)
    let before = try csv(folder)
    let repeated = try folder.ckvdb("append", "s.ckv", "--input", "i")
    #expect(repeated.status == 65)
    #expect(repeated.complaint == "ckvdb: s.ckv: user 7 has 2 positions, so the next is 2, not 0 as stated\n")
    #expect(try folder.ckvdb("append", "s.ckv", "--input", "i", "--repeats", "skip").status == 0)
    #expect(try csv(folder) == before)
    try folder.tensors("j", [users, .floats("embedding", [3, 2], embeddings), .integers("position", [2, 2, 3])])
    let gap = try folder.ckvdb("append", "s.ckv", "--input", "j", "--repeats", "skip")
    #expect(gap.status == 65)
    #expect(gap.complaint == "ckvdb: s.ckv: user 9 has 1 positions, so the next is 1, not 2 as stated\n")
    #expect(try csv(folder) == before)
  }

  @Test func `a later batch that fails says what is stored`() throws {
    let folder = try store()
    #expect(try folder.ckvdb("vacuum", "s.ckv", "--element", "f16").status == 0)
    // Too large for f16, which only the encoder's result shows.
    try folder.tensors("i", [users, .floats("embedding", [3, 2], [1, 0, 0, 1, 1e6, 0])])
    let run = try folder.ckvdb("append", "s.ckv", "--input", "i", "--batch", "2")
    #expect(run.status == 65)
    #expect(run.complaint.hasPrefix("ckvdb: i: rows 2 to 2: "))
    #expect(run.complaint.hasSuffix(" (2 rows were stored before that)\n"))
    #expect(try csv(folder).count == 2)
  }

  @Test func `what the tensors lack or contradict is named`() throws {
    let embedding = TestTensor.floats("embedding", [3, 2], embeddings)
    #expect(try refusal([embedding]) == "ckvdb: i: no tensor \"user\", nor \"user.bytes\" with \"user.ends\"\n")
    #expect(
      try refusal([users]) == "ckvdb: i: no tensor \"embedding\", nor any \"layers.<l>.key.index\"\n")
    #expect(
      try refusal([users, .floats("embedding", [3, 3], Array(repeating: 0, count: 9))])
        == "ckvdb: i: tensor \"embedding\" has shape [3, 3], expected [3, 2] or [3, 1, 2]\n")
    #expect(
      try refusal([users, .floats("embedding", [2, 2], [0, 0, 0, 0])])
        == "ckvdb: i: tensor \"embedding\" has shape [2, 2], expected [3, 2] or [3, 1, 2]\n")
    #expect(
      try refusal([users, embedding, .integers("position", [0, 0])])
        == "ckvdb: i: tensor \"position\" has 2 rows, expected 3\n")
    #expect(
      try refusal([users, embedding, .integers("position", [0, 0, 2])])
        == "ckvdb: i: \"position\" at row 2 is 2, user 7's next one is 1\n")
    #expect(
      try refusal([users, embedding, .integers("position", [-1, 0, 0])]) == "ckvdb: i: \"position\" at row 0 is -1\n")
    #expect(
      try refusal([.integers("user", [7, 9, 7], shape: [3, 1]), embedding])
        == "ckvdb: i: tensor \"user\" has shape [3, 1], expected one dimension\n")
    #expect(
      try refusal([.floats("user", [3], [1, 2, 3]), embedding])
        == "ckvdb: i: tensor \"user\" is F32, expected an integer type\n")
    #expect(
      try refusal([users, embedding], ["--keep-items"]) == "ckvdb: i: no tensor \"item\": the store keeps items\n")
    #expect(
      try refusal([users, embedding], ["--keep-timestamps"])
        == "ckvdb: i: no tensor \"timestamp\": the store keeps timestamps\n")
    #expect(
      try refusal([users, .integers("item", [0, 4, 0])])
        == "ckvdb: i: \"item\" at row 1 is 4, the model has 4 items\n")
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `a number that is not finite is refused before anything is stored`(number: Float) throws {
    var numbers = embeddings
    numbers[5] = number
    let message = try refusal([users, .floats("embedding", [3, 2], numbers)], [], ["--batch", "1"])
    #expect(message == "ckvdb: i: tensor \"embedding\" at row 2 holds a number that is not finite\n")
  }

  @Test func `encoded entries that do not fit the model are refused`() throws {
    let key = [
      TestTensor.integers("layers.0.key.index", [0, 1, 1]), .floats("layers.0.key.user", [3, 1], [5, 6, 7]),
    ]
    let value = [
      TestTensor.integers("layers.0.value.index", [0, 1, 1]), .floats("layers.0.value.user", [3, 1], [5, 6, 7]),
    ]
    #expect(
      try refusal([users] + key)
        == "ckvdb: i: no tensor \"layers.0.value.index\": every layer of the model must be there\n")
    #expect(
      try refusal([users] + key + [value[0]])
        == "ckvdb: i: no tensor \"layers.0.value.user\", expected shape [3, 1]\n")
    #expect(
      try refusal([users, .integers("layers.0.key.index", [0, 2, 1]), key[1]] + value)
        == "ckvdb: i: \"layers.0.key.index\" at row 1 is 2, the pool has 2 rows\n")
    #expect(
      try refusal([users, .integers("layers.0.key.index", [0, -1, 1]), key[1]] + value)
        == "ckvdb: i: \"layers.0.key.index\" at row 1 is -1, the pool has 2 rows\n")
    #expect(
      try refusal([users, .floats("embedding", [3, 2], embeddings)] + key).contains("both \"embedding\" and encoded"))
  }

  @Test func `ends of byte users must run upwards to the end`() throws {
    let embedding = TestTensor.floats("embedding", [3, 2], embeddings)
    let bytes = TestTensor.integers("user.bytes", Array(repeating: 1, count: 300), .u8)
    func ends(_ values: [Int64]) throws -> String { try refusal([.integers("user.ends", values), embedding, bytes]) }
    #expect(
      try ends([100, 50, 300])
        == "ckvdb: i: \"user.ends\" at row 1 is 50, expected 100 to 300, the size of \"user.bytes\"\n")
    #expect(try ends([100, 200, 301]).contains("\"user.ends\" at row 2 is 301"))
    #expect(try ends([.min, 200, 300]).contains("\"user.ends\" at row 0 is -9223372036854775808"))
    #expect(try ends([100, 200, 299]) == "ckvdb: i: \"user.ends\" ends at 299, \"user.bytes\" has 300 bytes\n")
    #expect(try ends([0, 20, 300]) == "ckvdb: i: the user of row 2 has 280 bytes, the limit is 255\n")
  }

  @Test func `a file truncated anywhere is refused and the store unchanged`() throws {
    let folder = try store()
    let whole = try Data(
      contentsOf: URL(
        fileURLWithPath: try folder.tensors("whole", [users, .floats("embedding", [3, 2], embeddings)])))
    let before = try folder.bytes(below: "s.ckv")
    for length in stride(from: 0, to: whole.count, by: 11) {
      try folder.write("i", whole.prefix(length))
      let run = try folder.ckvdb("append", "s.ckv", "--input", "i")
      #expect(run.status == 65 && run.complaint.hasPrefix("ckvdb: i: "), "\(length) bytes: \(run.complaint)")
    }
    #expect(try folder.bytes(below: "s.ckv") == before)
  }
}
