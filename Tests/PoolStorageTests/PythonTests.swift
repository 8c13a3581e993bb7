/// Other readers of the format read what we write, and refuse at least what we cannot read. Runs where python3 has the
/// safetensors package; elsewhere there is nothing to compare with.

import CacheTypes
import Foundation
import PoolStorage
import Testing

private func python(_ script: String, _ arguments: [String], input: Data = Data()) throws -> (
  code: Int32, output: String
) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["python3", "-c", script] + arguments
  let (stdin, stdout) = (Pipe(), Pipe())
  process.standardInput = stdin
  process.standardOutput = stdout
  process.standardError = FileHandle.nullDevice
  try process.run()
  try stdin.fileHandleForWriting.write(contentsOf: input)
  try stdin.fileHandleForWriting.close()
  let output = stdout.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}

private let hasSafetensors = (try? python("import numpy, safetensors.numpy", []).code) == 0

@Suite(.enabled(if: hasSafetensors)) struct PythonTests {
  private let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test func `a blob loads with safetensors for NumPy, number for number`() throws {
    for dtype in [TensorDType.f32, .f16] {
      let model = ModelFile.small(dtype: dtype)
      try model.write(to: directory.file("model"))
      let record = try PoolBlob.install(modelFile: directory.file("model"), into: directory.path)
      let script = """
        import sys
        from safetensors.numpy import load_file
        for name, tensor in sorted(load_file(sys.argv[1]).items()):
            if not name.startswith("_pad."):
                print(name, tensor.dtype, list(tensor.shape), [float(x) for x in tensor.reshape(-1)])
        """
      let (code, output) = try python(script, [directory.file(record.name)])
      #expect(code == 0)
      let expected = model.tensors.sorted { $0.key < $1.key }.map { name, entry in
        "\(name) \(dtype == .f32 ? "float32" : "float16") \(entry.shape) \(entry.floats.map(Double.init))\n"
      }
      #expect(output == expected.joined())
    }
  }

  @Test func `a file that NumPy's safetensors wrote is read`() throws {
    let script = """
      import sys, numpy
      from safetensors.numpy import save_file
      save_file({"b": numpy.arange(6, dtype=numpy.int64).reshape(2, 3),
                 "a": numpy.array([0.5, -2], dtype=numpy.float16),
                 "none": numpy.zeros((0, 4), dtype=numpy.float32)}, sys.argv[1], metadata={"k": "v \\u20ac"})
      """
    #expect(try python(script, [directory.file("numpy")]).code == 0)
    let file = try SafetensorsFile(path: directory.file("numpy"), followsLinks: false)
    #expect(file.metadata == ["k": "v €"])
    #expect(try file.integers("b") == [0, 1, 2, 3, 4, 5])
    #expect(file.info("b")?.shape == [2, 3])
    #expect(try file.floats("a") == [0.5, -2])
    #expect(file.info("none")?.shape == [0, 4])
  }

  /// A line per file says what the other reader made of it: `refused`, or its tensors.
  @Test func `what we accept of damaged headers the other reader accepts with the same meaning`() throws {
    let header =
      #"{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"#
      + #""e":{"dtype":"I64","shape":[0],"data_offsets":[8,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}"#
    let whole = rawFile(header, dataByteCount: 11)
    var files: [[UInt8]] = attacks.map(\.bytes)
    for place in whole.indices {
      for bit in 0..<8 {
        var bytes = whole
        bytes[place] ^= 1 << bit
        files.append(bytes)
      }
    }
    var random = SplitMix(state: 7)
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        bytes[Int.random(in: 8..<8 + header.utf8.count, using: &random)] = Array("{}[]:,\"0123456789 \\uFI".utf8)
          .randomElement(using: &random)!
      }
      files.append(bytes)
    }
    let script = """
      import sys, struct
      from safetensors import deserialize
      data = sys.stdin.buffer.read()
      while data:
          n, = struct.unpack("<Q", data[:8])
          file, data = data[8:8 + n], data[8 + n:]
          try:
              tensors = deserialize(file)
          except BaseException:
              print("refused")
              continue
          print(ascii(sorted((name.encode().hex(), t["dtype"], list(t["shape"])) for name, t in tensors)))
      """
    var input = Data()
    for file in files {
      withUnsafeBytes(of: UInt64(file.count).littleEndian) { input.append(contentsOf: $0) }
      input.append(contentsOf: file)
    }
    // The script reads everything before it answers, so neither side waits for the other.
    let replies = try python(script, [], input: input).output.split(separator: "\n").map(String.init)
    try #require(replies.count == files.count)
    var accepted = 0
    for (bytes, reply) in zip(files, replies) {
      let path = try directory.write(bytes, to: "file")
      guard let file = try? SafetensorsFile(path: path, followsLinks: false) else { continue }
      accepted += 1
      let ours = file.tensors.map { "('\(Hex.encode($0.name.utf8))', '\($0.dtype.name)', \($0.shape))" }.sorted()
      #expect("[\(ours.joined(separator: ", "))]" == reply, "\(String(decoding: bytes.dropFirst(8), as: UTF8.self))")
    }
    #expect(accepted > 100)
  }
}

/// Numbers that are the same in every run.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
