/// A small store with everything in it, whose files are damaged and put right again byte by byte, and what it answered
/// after each of its last commits: what it may still answer when a file is damaged.

import CollectiveKV
import Foundation

final class SweptStore {
  /// What a store answers about one user.
  struct Answer: Equatable {
    var entries: Entries
    var outputs: [[Float]]
  }

  /// What became of a store with a damaged file.
  enum Outcome: Hashable {
    /// Some call was refused with an error about the files; no other gave anything wrong.
    case refused
    /// Every call was answered rightly, and verify names what is wrong.
    case foundByVerify
    /// Everything is right: the bytes hold nothing.
    case harmless
    /// Everything is as it was so many commits before the last one.
    case rolledBack(Int)
    case wrong(String)
  }

  static let model = TestModel(
    TestModel.shape(
      [
        LayerShape(key: TestModel.part(2, 6, 16), value: TestModel.part(3, 5, 9), heads: 2),
        LayerShape(key: TestModel.part(1, 4, 12, isAdditive: true), value: TestModel.part(0, 4, 12), heads: 1),
      ]), poolElement: .f16, itemCount: 50)
  static let users: [UserID] = [
    1, 2, -5, 5_000_000_000, .bytes([]), .bytes(Array("ab".utf8)), .bytes((0..<255).map { UInt8($0) }),
  ]

  let path: String
  /// By name, as they are when nothing is damaged.
  let files: [(name: String, bytes: [UInt8])]
  /// After each commit that is in the log alone; the first is the state before them.
  let states: [[UserID: Answer]]
  private let directory: TemporaryDirectory
  private static let queries = (0..<2).map { number in (0..<[8, 4][number]).map { Float($0 % 3) - 0.5 } }

  init() throws {
    directory = try TemporaryDirectory()
    let options = CreateOptions(
      element: .i8, keepsItems: true, keepsTimestamps: true, pageByteCount: 4_096, durability: .normal)
    let made = try directory.makeStore(Self.model, options)
    var random = SeededRandom(11)
    for (number, user) in Self.users.enumerated() {
      try Self.append(user, count: number == 0 ? 190 : 3 + number * 9, to: made, &random)
    }
    try made.fold()
    for user in Self.users.prefix(5) { try Self.append(user, count: 4, to: made, &random) }
    try made.close()
    path = made.path
    let store = try CacheStore.open(at: path, options: .init(durability: .normal))
    var states = [try Self.answers(store)]
    for commit in 0..<10 {
      try Self.append(Self.users[commit * 3 % Self.users.count], count: 1 + commit % 3, to: store, &random)
      states.append(try Self.answers(store))
    }
    self.states = states
    var files: [(name: String, bytes: [UInt8])] = []
    for name in try FileManager.default.contentsOfDirectory(atPath: path).sorted() where !name.hasSuffix("-shm") {
      var bytes = try directory.bytes(of: "shop.ckv/\(name)")
      // The log is lengthened ahead of its commits: a little of that is enough.
      if name.hasSuffix("-wal") {
        let used = (bytes.lastIndex { $0 != 0 } ?? 0) + 1
        bytes.removeLast(max(0, bytes.count - used - 512))
      }
      files.append((name, bytes))
    }
    self.files = files
    try store.close()
    try restore()
  }

  private static func append(
    _ user: UserID, count: Int, to store: CacheStore, _ random: inout SeededRandom
  ) throws {
    let items = (0..<count).map { _ in Int64(random.below(50)) }
    let timestamps = (0..<count).map { _ in 1_700_000_000 + Int64(random.below(1 << 20)) }
    try store.append(user: user, items: items, timestamps: timestamps)
  }

  // MARK: Files

  /// Makes every file what it was.
  func restore() throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: path)
    where !files.contains(where: { $0.name == name }) {
      try FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }
    for file in files { try write(file.bytes[...], to: file.name, at: 0) }
  }

  /// Whether every file is what it was, apart from the log's index.
  var isRestored: Bool {
    get throws {
      let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { !$0.hasSuffix("-shm") }
      return try names.sorted() == files.map(\.name)
        && files.allSatisfy { try directory.bytes(of: "shop.ckv/\($0.name)") == $0.bytes }
    }
  }

  func flip(_ file: Int, byte: Int, bit: Int) throws {
    try write([files[file].bytes[byte] ^ 1 << UInt8(bit)], to: files[file].name, at: byte, keepsLength: true)
  }

  func unflip(_ file: Int, byte: Int) throws {
    try write(files[file].bytes[byte...byte], to: files[file].name, at: byte, keepsLength: true)
  }

  func cut(_ file: Int, to length: Int) throws {
    try require(truncate("\(path)/\(files[file].name)", length) == 0)
  }

  /// Undoes a cut.
  func uncut(_ file: Int, from length: Int) throws {
    try write(files[file].bytes[length...], to: files[file].name, at: length)
  }

  /// While the store is closed: closing any descriptor of a database gives up SQLite's locks.
  private func write(_ bytes: ArraySlice<UInt8>, to name: String, at offset: Int, keepsLength: Bool = false) throws {
    let descriptor = open("\(path)/\(name)", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try require(descriptor >= 0)
    defer { close(descriptor) }
    let written = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, offset) }
    try require(written == bytes.count)
    if !keepsLength { try require(ftruncate(descriptor, offset + bytes.count) == 0) }
  }

  private struct CannotDamage: Error { var code: Int32 }

  private func require(_ holds: Bool) throws { if !holds { throw CannotDamage(code: errno) } }

  // MARK: Answers

  private static func answers(_ store: CacheStore) throws -> [UserID: Answer] {
    var answers: [UserID: Answer] = [:]
    for user in users {
      answers[user] = Answer(entries: try store.entries(of: user), outputs: try outputs(store, user))
    }
    return answers
  }

  private static func outputs(_ store: CacheStore, _ user: UserID) throws(StoreError) -> [[Float]] {
    [try store.attend(queries[0], user: user), try store.attend(queries[1], user: user, layer: 1, .topk(top: 5))]
  }

  /// Opens the store, asks it everything and closes it.
  ///
  /// - Parameters:
  ///   - damaged: the file that is damaged: only one that holds commits may lose some.
  ///   - isWriting: opens it for writing, appends and folds; the files are others then.
  func outcome(damaging damaged: String, isWriting: Bool = false) -> Outcome {
    var text = ""
    do {
      let store = try CacheStore.open(
        at: path, options: .init(access: isWriting ? .readWrite : .readOnly, durability: .normal))
      defer { try? store.close() }
      var isRefused = false
      var seen: [UserID: Answer] = [:]
      var listed: [UserID: Entries]? = [:]
      try refusing(&isRefused) {
        try store.forEachHistory { listed?[$0.user] = $0.entries }
      } onRefusal: {
        listed = nil
      }
      for user in Self.users {
        try refusing(&isRefused) {
          do {
            // Where the list is whole, its entries are what was read; the outputs are read anew.
            let entries = try listed.map { $0[user] } ?? store.entries(of: user)
            guard let entries else { throw StoreError.unknownUser(user) }
            seen[user] = Answer(entries: entries, outputs: try Self.outputs(store, user))
          } catch {
            if error as? StoreError != .unknownUser(user) { throw error }
            text += " user \(user) is unknown;"
          }
        }
      }
      guard text.isEmpty else { return .wrong(text) }
      let possible = states.indices.filter { state in seen.allSatisfy { states[state][$0] == $1 } }
      guard !possible.isEmpty else { return .wrong("answers that the store never gave") }
      guard let state = possible.last(where: { listed == nil || listed == states[$0].mapValues(\.entries) }) else {
        return .wrong("a list of users that the store never had")
      }
      if isWriting { try refusing(&isRefused) { try write(to: store, states[state]) } }
      var problems = 0
      try refusing(&isRefused) { problems = try store.verify().problems.count }
      let lost = states.count - 1 - state
      if lost > 0, !seen.isEmpty, !damaged.hasSuffix("-wal") { return .wrong("\(lost) commits are gone") }
      if isRefused { return .refused }
      if lost > 0 { return .rolledBack(lost) }
      return problems > 0 ? .foundByVerify : .harmless
    } catch StoreError.rolledBack(_, let commits) {
      // The watermark is beside the log, so nobody is told of a loss that is none.
      return damaged.hasSuffix("-wal") ? .rolledBack(commits) : .wrong("\(commits) commits are gone")
    } catch {
      return Self.isRefusal(error) ? .refused : .wrong("\(error)")
    }
  }

  /// A store that lets itself be written to must go on being right.
  private func write(to store: CacheStore, _ state: [UserID: Answer]) throws {
    var random = SeededRandom(5)
    for user in Self.users {
      try Self.append(user, count: 2, to: store, &random)
    }
    try store.fold()
    for user in Self.users {
      let entries = try store.entries(of: user)
      guard let before = state[user]?.entries, entries.count == before.count + 2,
        entries.items?.prefix(before.count) == before.items?[...],
        entries.timestamps?.prefix(before.count) == before.timestamps?[...],
        entries.layers[0].keyIndices.prefix(before.count) == before.layers[0].keyIndices[...]
      else { throw Misplaced(user: user) }
    }
  }

  private struct Misplaced: Error, CustomStringConvertible {
    var user: UserID
    var description: String { "after an append and a fold user \(user) has another history" }
  }

  private func refusing(_ isRefused: inout Bool, _ body: () throws -> Void, onRefusal: () -> Void = {}) throws {
    do { try body() } catch {
      guard Self.isRefusal(error) else { throw error }
      isRefused = true
      onRefusal()
    }
  }

  private static func isRefusal(_ error: any Error) -> Bool {
    switch error as? StoreError {
    case .damaged, .notAStore, .newerFormat, .database, .io, .poisoned: true
    case nil, .rolledBack, .alreadyExists, .invalidModel, .invalidInput, .unknownUser, .staleUser, .positionConflict,
      .busy,
      .readOnly,
      .closed:
      false
    }
  }
}

/// Outcomes, counted.
struct SweepTally {
  private(set) var count = 0
  private(set) var rolledBack = 0
  private var counts: [SweptStore.Outcome: Int] = [:]
  private(set) var wrong: [String] = []

  mutating func add(_ outcome: SweptStore.Outcome, _ place: @autoclosure () -> String) {
    count += 1
    switch outcome {
    case .wrong(let text): wrong.append("\(place()): \(text)")
    case .rolledBack: rolledBack += 1
    case .refused, .foundByVerify, .harmless: counts[outcome, default: 0] += 1
    }
  }

  mutating func add(_ other: SweepTally) {
    count += other.count
    rolledBack += other.rolledBack
    counts.merge(other.counts) { $0 + $1 }
    wrong += other.wrong
  }

  var text: String {
    "\(count), wrong values returned \(wrong.count), traps 0; refused \(counts[.refused, default: 0]), found by verify "
      + "\(counts[.foundByVerify, default: 0]), rolled back \(rolledBack), harmless \(counts[.harmless, default: 0])"
  }
}
