/// Orders to a store as lines of text, carried out in this process or in a worker: the same words, the same answers. An
/// order fails with the error's text, so that a test can foretell every answer.

import CollectiveKV
import Foundation

/// What happens at a position follows from a number, its tag: histories are lists of tags.
struct Tag: Hashable, Sendable {
  var number: Int
  /// The element types that its numbers went through, in order.
  var elements: [ElementType]
}

/// Holds at most one open store of the model `TestModel.mixed`.
final class StoreHands {
  private var store: CacheStore?
  private let stress = StressRole()

  /// Carries out one order.
  func obey(_ line: String) -> String {
    let words = line.split(separator: " ").map(String.init)
    do {
      return try obey(words[0], Array(words.dropFirst()))
    } catch {
      return "error \(error)"
    }
  }

  private func obey(_ order: String, _ words: [String]) throws -> String {
    switch order {
    case "umask": return "ok \(umask(mode_t(words[0])!))"
    case "create":
      let options = CreateOptions(keepsItems: true, keepsTimestamps: true, pageByteCount: 4_096, durability: .normal)
      store = try CacheStore.create(at: words[0], model: words[1], options: options)
      return "ok"
    case "open":
      store = nil
      store = try CacheStore.open(at: words[0], options: .init(durability: .normal))
      return "ok"
    case "read-only":
      store = try CacheStore.open(at: words[0], options: .init(access: .readOnly))
      return "ok"
    case "enter": return FileManager.default.changeCurrentDirectoryPath(words[0]) ? "ok" : "error no such directory"
    case "become": return geteuid() != 0 || setuid(uid_t(words[0])!) == 0 ? "ok" : "error"
    case "close":
      try store?.close()
      store = nil
      return "ok"
    case "readme":
      guard FileManager.default.changeCurrentDirectoryPath(words[0]) else { return "error no such directory" }
      let (full, output, answers) = try ReadmeExample.run()
      let counts = answers.map { "\($0.output.count)" }.joined(separator: " ")
      return "ok \(full.positions) \(full.keyWidth) \(output.count) \(counts)"
    case "stress": return try stress.play(words)
    case "kills": return try KillRole.play(words)
    default: break
    }
    guard let store else { throw StoreError.closed }
    switch order {
    case "append":
      let batch = words.dropFirst().map(Self.request)
      return "ok \(try store.append(batch, repeats: words[0] == "skip" ? .skip : .refuse))"
    case "delete":
      let report = try store.delete(user: UserID(words[0])!)
      return "ok \(report.positions)\(report.isErasurePending ? ", erasure pending" : "")"
    case "length": return "ok \(try store.length(of: UserID(words[0])!))"
    case "read": return "ok \(try Self.digest(store, UserID(words[0])!))"
    case "histories":
      var text = ""
      try store.forEachHistory { text += " \($0.user)=\($0.length)" }
      return "ok\(text)"
    case "fold":
      try store.fold()
      return "ok"
    case "vacuum":
      _ = try store.vacuum(
        .init(element: words.first.flatMap { ElementType(name: $0) }, pageByteCount: words.first.flatMap { Int($0) }))
      return "ok"
    case "count": return "ok \(try store.statistics().positions)"
    case "verify": return "ok \(try store.verify().problems)"
    default: return "error an unknown order"
    }
  }

  // MARK: Words

  /// `user:expected:tag:count`, the expected position left out where there is none.
  static func text(_ user: UserID, _ expected: Int?, _ tag: Int, _ count: Int) -> String {
    "\(user):\(expected.map(String.init) ?? ""):\(tag):\(count)"
  }

  private static func request(_ word: String) -> AppendRequest {
    let parts = word.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let tags = Int(parts[2])!..<Int(parts[2])! + Int(parts[3])!
    return AppendRequest(tags.map(event), user: UserID(parts[0])!, expecting: Int(parts[1]))
  }

  // MARK: Content

  private static let reference = Reference(.mixed)

  private static func event(_ tag: Int) -> Event {
    var random = SeededRandom(tag &* 0x5851_F42D)
    return reference.events(1, &random)[0]
  }

  /// Everything that the store holds about a user, as one number.
  private static func digest(_ store: CacheStore, _ user: UserID) throws -> UInt64 {
    let entries = try store.entries(of: user)
    let full = try store.model.shape.layers.indices.map { try store.reconstruct(entries, layer: $0) }
    var bytes: [UInt8] = []
    for position in 0..<entries.count {
      append(entries.items?[position] ?? -1, &bytes)
      append(entries.timestamps?[position] ?? -1, &bytes)
      for layer in full {
        for number in layer.keys[position * layer.keyWidth..<(position + 1) * layer.keyWidth] {
          append(number.bitPattern, &bytes)
        }
        for number in layer.values[position * layer.valueWidth..<(position + 1) * layer.valueWidth] {
          append(number.bitPattern, &bytes)
        }
      }
    }
    return Checksum.xxh3(bytes)
  }

  /// What `digest` has to be for a history of tags.
  static func digest(_ history: [Tag], _ known: inout [Tag: [UInt8]]) -> UInt64 {
    var bytes: [UInt8] = []
    for tag in history {
      if known[tag] == nil { known[tag] = row(tag) }
      bytes += known[tag]!
    }
    return Checksum.xxh3(bytes)
  }

  private static func row(_ tag: Tag) -> [UInt8] {
    var kept = reference.kept(event(tag.number), as: tag.elements[0])
    for element in tag.elements.dropFirst() {
      for number in kept.layers.indices {
        kept.layers[number].keyUser = kept.layers[number].keyUser.map { Reference.rounded($0, element) }
        kept.layers[number].valueUser = kept.layers[number].valueUser.map { Reference.rounded($0, element) }
      }
    }
    var bytes: [UInt8] = []
    append(kept.item, &bytes)
    append(kept.timestamp, &bytes)
    for number in reference.model.shape.layers.indices {
      let full = reference.full([kept], layer: number)
      for number in full.keys.joined() { append(Float(number).bitPattern, &bytes) }
      for number in full.values.joined() { append(Float(number).bitPattern, &bytes) }
    }
    return bytes
  }

  private static func append(_ number: some FixedWidthInteger, _ bytes: inout [UInt8]) {
    withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
  }
}
