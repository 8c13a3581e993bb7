/// Runs the built command as its users do, and makes the files that it works on.

import CKVDBCommand
import CacheTypes
import Foundation
import PoolStorage
import Testing

/// What one run of the command left behind.
struct Run {
  var status: Int32
  var output: String
  var complaint: String
}

/// A directory that goes with the object.
final class Folder {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "ckvdb-command-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// A path inside; also of things that are not there yet.
  func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

  /// Writes a file and returns its path.
  @discardableResult
  func write(_ name: String, _ bytes: some Sequence<UInt8>) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: self(name)))
    return self(name)
  }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String { try write(name, text.utf8) }

  /// Runs the command in the folder.
  func ckvdb(_ arguments: String..., input: String = "") throws -> Run {
    try run(Command.path, arguments, input: Data(input.utf8))
  }

  func ckvdb(_ arguments: [String], input: Data = Data()) throws -> Run {
    try run(Command.path, arguments, input: input)
  }

  /// Runs a line of bash in which `ckvdb` is the command.
  func shell(_ line: String) throws -> Run {
    try run("/bin/bash", ["-c", "set -o pipefail; ckvdb() { '\(Command.path)' \"$@\"; }; \(line)"], input: Data())
  }

  /// Every file below a directory and its bytes, read by another process: SQLite's locks on files that this process
  /// has open would not survive its reading them. The shared memory of readers is
  /// left out, and so are files without content: an empty log says what no log says.
  func bytes(below name: String) throws -> [String: String] {
    let run = try run(
      "/bin/bash", ["-c", "find '\(self(name))' -type f -size +0 ! -name '*-shm' -exec sha256sum {} +"], input: Data())
    var sums: [String: String] = [:]
    for line in run.output.split(separator: "\n") {
      let parts = line.split(separator: " ", maxSplits: 1)
      sums[parts[1].trimmingCharacters(in: .whitespaces)] = String(parts[0])
    }
    return sums
  }

  private func run(_ program: String, _ arguments: [String], input: Data) throws -> Run {
    // Through files: pipes would fill while nobody reads.
    let name = "." + UUID().uuidString
    let streams = ["in", "out", "err"].map { self(name + "." + $0) }
    try input.write(to: URL(fileURLWithPath: streams[0]))
    for stream in streams.dropFirst() { _ = FileManager.default.createFile(atPath: stream, contents: nil) }
    defer { for stream in streams { try? FileManager.default.removeItem(atPath: stream) } }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: path)
    process.environment = ["PATH": "/usr/bin:/bin", "TMPDIR": path]
    process.standardInput = FileHandle(forReadingAtPath: streams[0])
    process.standardOutput = FileHandle(forWritingAtPath: streams[1])
    process.standardError = FileHandle(forWritingAtPath: streams[2])
    // The threads that tests run on block signals, and what they start would too.
    var (none, before) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try process.run()
    process.waitUntilExit()
    let text = try streams.map { String(decoding: try Data(contentsOf: URL(fileURLWithPath: $0)), as: UTF8.self) }
    let status = process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    return Run(status: status, output: text[1], complaint: text[2])
  }
}

enum Command {
  /// The command stands beside the tests.
  static let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    .appendingPathComponent("ckvdb").path
}

/// Hands out prepared chunks.
struct Chunks: ChunkReader {
  var name = "events.tsv"
  var chunks: [[UInt8]]

  init(_ chunks: [[UInt8]]) { self.chunks = chunks }
  init(_ text: String) { chunks = [Array(text.utf8)] }
  /// `bytes` in chunks of so many.
  init(_ bytes: [UInt8], by count: Int) {
    chunks = stride(from: 0, to: bytes.count, by: count).map { Array(bytes[$0..<min($0 + count, bytes.count)]) }
  }

  mutating func read() throws(CommandFailure) -> [UInt8] { chunks.isEmpty ? [] : chunks.removeFirst() }
}

/// One tensor of a file that a test makes.
struct TestTensor {
  var plan: TensorPlan
  var floats: [Float] = []
  var integers: [Int64] = []

  static func floats(_ name: String, _ shape: [Int], _ values: [Float], _ dtype: TensorDType = .f32) -> TestTensor {
    TestTensor(plan: TensorPlan(name: name, dtype: dtype, shape: shape), floats: values)
  }

  static func integers(_ name: String, _ values: [Int64], shape: [Int]? = nil, _ dtype: TensorDType = .i64)
    -> TestTensor
  {
    TestTensor(plan: TensorPlan(name: name, dtype: dtype, shape: shape ?? [values.count]), integers: values)
  }
}

extension Folder {
  @discardableResult
  func tensors(_ name: String, _ tensors: [TestTensor], metadata: [String: String] = [:]) throws -> String {
    var writer = try SafetensorsWriter(path: self(name), tensors: tensors.map(\.plan), metadata: metadata)
    for tensor in tensors {
      try writer.append(tensor.floats)
      try writer.append(tensor.integers)
    }
    try writer.finish()
    return self(name)
  }

  func read(_ name: String) throws -> SafetensorsFile { try SafetensorsFile(path: self(name), followsLinks: false) }

  /// A model of two items' worth of numbers that can be checked by hand: d_e 2, one head; key and value each one number
  /// of the user's own (the embedding's first, for values its second) beside a pool of two rows of three; the router
  /// takes row 0 or 1 by which of the two numbers is larger.
  @discardableResult
  func smallModel(_ name: String = "model.safetensors") throws -> String {
    var tensors: [TestTensor] = [
      .floats("items.embedding", [4, 2], [1, 0, 0, 1, 0.5, -0.5, -2, 3])
    ]
    for (part, weight, base) in [("key", [Float(1), 0], Float(10)), ("value", [0, 1], 20)] {
      tensors += [
        .floats("layers.0.\(part).projection.weight", [1, 2], weight),
        .floats("layers.0.\(part).projection.bias", [1], [0]),
        .floats("layers.0.\(part).router.weight", [2, 2], [1, 0, 0, 1]),
        .floats("layers.0.\(part).router.bias", [2], [0, 0]),
        .floats("layers.0.\(part).pool", [2, 3], (0..<6).map { base + Float($0) }),
      ]
    }
    return try self.tensors(
      name, tensors, metadata: ["ckvdb.format": "1", "ckvdb.heads": "1", "ckvdb.input": "item"])
  }

  /// A store of the small model with three events: users 7, 7 and 9.
  func smallStore(_ name: String = "s.ckv", _ options: String...) throws {
    try smallModel()
    #expect(try ckvdb(["init", name, "--model", "model.safetensors"] + options).status == 0)
    try write("events.tsv", "#user\titem\ttimestamp\n7\t0\t100\n7\t3\t101\n9\t1\t102\n")
    #expect(try ckvdb("append", name, "--events", "events.tsv").status == 0)
  }
}

/// Text that a test expects, kept in a file so that a change is seen in a review.
enum Snapshot {
  static func text(_ name: String) throws -> String {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "Snapshots/\(name).txt")
    return try String(contentsOf: url, encoding: .utf8)
  }
}
