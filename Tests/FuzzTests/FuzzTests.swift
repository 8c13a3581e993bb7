/// Replays the corpus of every fuzz target, and a number of changed inputs that a seed decides: what `make fuzz` does
/// for longer, with libFuzzer. A target that finds something wrong ends the process. CKVDB_FUZZ_FACTOR multiplies the
/// number of changed inputs.

import Foundation
import Testing

struct FuzzTests {
  struct Target: Sendable, CustomTestStringConvertible {
    var name: String
    /// Inputs made of the corpus.
    var changedCount: Int
    var run: @Sendable ([UInt8]) -> Void
    var testDescription: String { name }
  }

  static let targets = [
    Target(name: "header", changedCount: 2_000, run: HeaderTarget.run),
    Target(name: "row", changedCount: 20_000, run: RowTarget.run),
    Target(name: "events", changedCount: 2_000, run: EventTarget.run),
    Target(name: "queries", changedCount: 2_000, run: QueryTarget.run),
    Target(name: "store", changedCount: 300, run: StoreTarget.run),
  ]

  private static let factor = ProcessInfo.processInfo.environment["CKVDB_FUZZ_FACTOR"].flatMap(Int.init) ?? 1

  struct Malformed: Error { var line: String }

  /// Inputs of a corpus: a line each, bytes in hexadecimal or text between quotes.
  static func corpus(_ name: String) throws -> [[UInt8]] {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Corpus/\(name).txt")
    let lines = try String(contentsOf: url, encoding: .utf8).split(separator: "\n").filter { !$0.hasPrefix("#") }
    return try lines.map { line in
      var bytes: [UInt8] = []
      for (place, part) in line.split(separator: "'", omittingEmptySubsequences: false).enumerated() {
        if place % 2 == 1 {
          bytes += Array(part.utf8)
          continue
        }
        let digits = part.filter { $0 != " " }
        guard digits.count % 2 == 0 else { throw Malformed(line: String(line)) }
        var rest = digits[...]
        while !rest.isEmpty {
          guard let byte = UInt8(rest.prefix(2), radix: 16) else { throw Malformed(line: String(line)) }
          bytes.append(byte)
          rest = rest.dropFirst(2)
        }
      }
      return bytes
    }
  }

  /// Changes an input as fuzzers do: bits, bytes, pieces of itself and of another one.
  static func change(_ input: [UInt8], _ other: [UInt8], _ random: inout some RandomNumberGenerator) -> [UInt8] {
    var bytes = input
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let place = bytes.isEmpty ? 0 : Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<7, using: &random) {
      case 0 where !bytes.isEmpty: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1 where !bytes.isEmpty: bytes[place] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0
      case 2 where !bytes.isEmpty: bytes[place] = .random(in: 0...255, using: &random)
      case 3: bytes.insert(.random(in: 0...255, using: &random), at: place)
      case 4: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 0...8, using: &random)))
      case 5:
        let start = other.isEmpty ? 0 : Int.random(in: 0..<other.count, using: &random)
        bytes.insert(contentsOf: other[start...].prefix(Int.random(in: 0...16, using: &random)), at: place)
      default: bytes.removeLast(bytes.count - place)
      }
    }
    return bytes
  }

  @Test(arguments: targets)
  func `no input of the corpus, nor one made of it, does what a target forbids`(target: Target) throws {
    let corpus = try Self.corpus(target.name)
    #expect(corpus.count >= 6)
    for input in corpus { target.run(input) }
    var random = SeededNumbers(state: UInt64(target.changedCount))
    let count = target.changedCount * Self.factor
    for _ in 0..<count {
      let input = corpus[Int.random(in: 0..<corpus.count, using: &random)]
      let other = corpus[Int.random(in: 0..<corpus.count, using: &random)]
      target.run(Self.change(input, other, &random))
    }
    print("fuzz target \(target.name): \(corpus.count) corpus inputs and \(count) changed ones, 0 crashes")
  }

  @Test func `every corpus belongs to a target`() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Corpus")
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    #expect(files == Self.targets.map { "\($0.name).txt" }.sorted())
  }
}

/// Random numbers that a seed decides.
struct SeededNumbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}
