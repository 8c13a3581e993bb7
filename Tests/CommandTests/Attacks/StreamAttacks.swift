/// Event streams, plain and compressed, and files of queries and of inputs that no command may take.

import CKVDBCommand
import CacheTypes
import PoolStorage
import Testing

/// A stream of events.
struct EventAttack {
  var name: String
  /// What the refusal names.
  var reason: String
  var bytes: [UInt8]

  init(_ name: String, _ reason: String, _ bytes: [UInt8]) {
    (self.name, self.reason, self.bytes) = (name, reason, bytes)
  }

  init(_ name: String, _ reason: String, _ text: String) { self.init(name, reason, Array(text.utf8)) }

  /// What reading the stream, whole and in small chunks, is refused with.
  func refusal() -> String {
    var texts: Set<String> = []
    for count in [bytes.count + 1, 3] {
      var parser = EventParser(Inflater(Chunks(bytes, by: count)), needsTimestamps: true)
      do throws(CommandFailure) {
        while try parser.next() != nil {}
        return "not refused"
      } catch {
        guard error.status == .data else { return "refused as something else: \(error)" }
        texts.insert(error.message)
      }
    }
    return texts.count == 1 ? texts.first! : "refused in two ways: \(texts)"
  }

  private static func gzip(_ change: (inout [UInt8]) -> Void) -> [UInt8] {
    var bytes = InflaterTests.gzip(Array("1 2 3\n4 5 6\n".utf8))
    change(&bytes)
    return bytes
  }

  static let all: [EventAttack] = [
    .init("one column", "events.tsv:1: 1 column", "7\n"),
    .init("no timestamp", "events.tsv:2: 2 columns", "1 2 3\n4 5\n"),
    .init("a user beyond 64 bits", "events.tsv:1: user '9223372036854775808'", "9223372036854775808 1 1\n"),
    .init("an item beyond 64 bits", "events.tsv:1: item '-99999999999999999999'", "1 -99999999999999999999 1\n"),
    .init(
      "a number of a thousand digits", "events.tsv:1: timestamp '9999", "1 1 " + String(repeating: "9", count: 1_000)),
    .init("a fraction", "events.tsv:1: item '1.5' is not an integer", "1 1.5 1\n"),
    .init("hexadecimal digits by half", "events.tsv:1: user 'x'0a1''", "x'0a1' 1 1\n"),
    .init("a user of 256 bytes", "events.tsv:1: user 'x'aaaa", "x'\(String(repeating: "aa", count: 256))' 1 1\n"),
    .init("bytes that are no text", "events.tsv:1: user '\\xff", [0xFF, 0xFE, 0x20, 0x31, 0x20, 0x31, 0x0A]),
    .init("a terminal's commands", "events.tsv:1: item '\\x1b]0;", "1 \u{1B}]0;x\u{7} 1\n"),
    .init("a zero byte", "events.tsv:1: timestamp '1\\x00' is not an integer", "1 1 1\0\n"),
    .init("a line without an end", "events.tsv:1: the line is longer", String(repeating: "1", count: 70_000)),
    .init("a compressed stream that is cut", "events.tsv", gzip { $0.removeLast(9) }),
    .init("a compressed stream without its last byte", "events.tsv", gzip { $0.removeLast() }),
    .init("a compressed stream with another checksum", "events.tsv", gzip { $0[$0.count - 8] ^= 1 }),
    .init("a compressed stream of another length", "events.tsv", gzip { $0[$0.count - 1] ^= 1 }),
    .init("a compressed stream of a reserved kind", "events.tsv", gzip { $0[10] = 0x07 }),
    .init("a compressed stream of another method", "events.tsv", gzip { $0[2] = 9 }),
    .init("text behind a compressed stream", "events.tsv", gzip { $0 += Array("7 8 9\n".utf8) }),
  ]
}

/// A file for `ckvdb attend` or `ckvdb append`.
struct TensorAttack {
  var name: String
  /// What the refusal names.
  var reason: String
  var isQuery: Bool
  var tensors: [TestTensor]

  init(_ name: String, _ reason: String, query tensors: [TestTensor]) {
    (self.name, self.reason, self.tensors, isQuery) = (name, reason, tensors, true)
  }

  init(_ name: String, _ reason: String, input tensors: [TestTensor]) {
    (self.name, self.reason, self.tensors, isQuery) = (name, reason, tensors, false)
  }

  /// What the command says on refusing the file.
  func refusal(_ folder: Folder) throws -> String {
    try folder.tensors("attack", tensors)
    let run =
      isQuery
      ? try folder.ckvdb(
        "attend", "original.ckv", "--queries", "attack", "--output", "out", "--attention", "softmax")
      : try folder.ckvdb("append", "original.ckv", "--input", "attack")
    return run.status == 65 ? run.complaint : "status \(run.status): \(run.complaint)"
  }

  private static let user = TestTensor.integers("user", [7])
  private static let query = TestTensor.floats("query", [1, 1, 4], [0, 0, 0, 0])
  private static let item = TestTensor.integers("item", [1])
  private static let timestamp = TestTensor.integers("timestamp", [1])
  private static func ends(_ ends: [Int64], bytes: Int = 3) -> [TestTensor] {
    [
      .integers("user.bytes", Array(repeating: 1, count: bytes), .u8), .integers("user.ends", ends),
      .floats("query", [ends.count, 1, 4], Array(repeating: 0, count: ends.count * 4)),
    ]
  }

  static let all: [TensorAttack] = [
    .init("queries of nobody", "attack: no tensor \"user\"", query: [query]),
    .init("no queries", "attack: no tensor \"query\"", query: [user]),
    .init(
      "queries of another width", "\"query\" has shape [1, 1, 5]",
      query: [user, .floats("query", [1, 1, 5], [0, 0, 0, 0, 0])]),
    .init(
      "queries of more users", "\"query\" has shape [2, 1, 4]",
      query: [user, .floats("query", [2, 1, 4], Array(repeating: 0, count: 8))]),
    .init(
      "a query that is no number", "\"query\" at row 0", query: [user, .floats("query", [1, 1, 4], [0, .nan, 0, 0])]),
    .init(
      "a query that is infinite", "\"query\" at row 0",
      query: [user, .floats("query", [1, 1, 4], [0, .infinity, 0, 0])]),
    .init(
      "queries of integers", "tensor \"query\" is I64",
      query: [user, .integers("query", [0, 0, 0, 0], shape: [1, 1, 4])]),
    .init("users that are fractions", "tensor \"user\" is F32", query: [.floats("user", [1], [7]), query]),
    .init(
      "a position below nothing", "\"position\" at index 0 is -1", query: [user, query, .integers("position", [-1])]),
    .init(
      "a position beyond the history", "position 9223372036854775807 is beyond",
      query: [user, query, .integers("position", [.max])]),
    .init(
      "positions of another shape", "\"position\" has shape [1, 2]",
      query: [user, query, .integers("position", [1, 1], shape: [1, 2])]),
    .init("users' ends that go back", "\"user.ends\" at row 1 is 1", query: ends([2, 1, 3])),
    .init("users' ends beyond the bytes", "\"user.ends\" at row 0 is 4", query: ends([4])),
    .init("users' ends below nothing", "\"user.ends\" at row 0 is -9223372036854775808", query: ends([.min, 3])),
    .init("users' ends that wrap", "\"user.ends\" at row 1 is -9223372036854775808", query: ends([3, .min])),
    .init("users' bytes that nobody has", "\"user.ends\" ends at 2", query: ends([2])),
    .init("a user of 256 bytes", "the user of row 0 has 256 bytes", query: ends([256], bytes: 256)),
    .init("users twice", "both \"user\" and \"user.bytes\"", query: ends([3]) + [user]),
    .init("an item below nothing", "\"item\" at row 0 is -1", input: [user, .integers("item", [-1]), timestamp]),
    .init("an item beyond the model", "\"item\" at row 0 is 4", input: [user, .integers("item", [4]), timestamp]),
    .init("no timestamps", "no tensor \"timestamp\"", input: [user, item]),
    .init(
      "timestamps of another count", "\"timestamp\" has 2 rows", input: [user, item, .integers("timestamp", [1, 2])]),
    .init(
      "the greatest position", "\"position\" at row 0 is 9223372036854775807",
      input: [user, item, timestamp, .integers("position", [.max])]),
    .init(
      "an index beyond the pool", "at row 0 is 3, the pool has 3 rows",
      input: [
        user, item, timestamp, .integers("layers.0.key.index", [3]), .floats("layers.0.key.user", [1, 1], [0]),
        .integers("layers.0.value.index", [0]), .floats("layers.0.value.user", [1, 1], [0]),
      ]),
    .init(
      "an index below nothing", "at row 0 is -1, the pool has 3 rows",
      input: [
        user, item, timestamp, .integers("layers.0.key.index", [-1]), .floats("layers.0.key.user", [1, 1], [0]),
      ]),
    .init(
      "entries of half a layer", "no tensor \"layers.0.value.index\"",
      input: [
        user, item, timestamp, .integers("layers.0.key.index", [0]), .floats("layers.0.key.user", [1, 1], [0]),
      ]),
    .init(
      "an embedding that is no number", "\"embedding\" at row 0",
      input: [user, item, timestamp, .floats("embedding", [1, 2], [0, .nan])]),
  ]
}
