/// What a store goes through in the tests of crashes and faults, and what it must hold after each step. Rows follow
/// from numbers, tags, so that a history is a list of tags and every byte of a read is foretold.

import CollectiveKV
import Foundation

/// What users have.
struct CrashState: Equatable {
  struct History: Equatable {
    var tags: [Int]
    var model: Int
  }
  var histories: [Int: History] = [:]
  var model = 0
}

enum CrashStep {
  /// How many positions for which user, in one transaction.
  case append([(user: Int, count: Int)])
  case delete(Int)
  case fold
  case vacuum(VacuumOptions)
  case swap
  case reopen
}

struct CrashWorkload {
  static let storeName = "shop.ckv"
  static let models = [1, 2].map { TestModel(TestModel.shape([TestModel.plainLayer]), seed: $0) }
  static let userCount = 6

  let name: String
  let durability: Durability
  /// Done before anything is observed.
  let preparation: [CrashStep]
  let steps: [CrashStep]
  /// The states after none, one, ... of the steps.
  let states: [CrashState]

  init(_ name: String, _ durability: Durability = .full, after preparation: [CrashStep], _ steps: [CrashStep]) {
    (self.name, self.durability, self.preparation, self.steps) = (name, durability, preparation, steps)
    var state = preparation.reduce(CrashState()) { Self.apply($1, to: $0) }
    states =
      [state]
      + steps.map { step in
        state = Self.apply(step, to: state)
        return state
      }
  }

  private static func batch(_ users: Range<Int>, _ count: Int) -> CrashStep { .append(users.map { ($0, count) }) }
  private static let full: [CrashStep] = [
    batch(0..<5, 30), .fold, batch(0..<4, 3), .append([(1, 2), (3, 4)]),
  ]

  static let all: [CrashWorkload] = [
    .init(
      "append", after: full, [.append([(0, 1)]), .append([(1, 3)]), .append([(5, 2)]), .reopen, .append([(0, 1)])]),
    .init("batch", after: full, [batch(0..<6, 4), .append([(2, 60)]), batch(0..<6, 1), .reopen, batch(1..<3, 1)]),
    .init("fold", after: full, [.append([(0, 2)]), .fold, .append([(0, 1), (4, 1)]), .fold, .append([(3, 1)])]),
    .init("swap", after: full, [.append([(0, 1)]), .swap, .append([(0, 2), (5, 1)]), .swap, .append([(1, 1)])]),
    .init("delete", after: full, [.append([(5, 2)]), .delete(1), .append([(1, 2)]), .delete(0), .fold]),
    .init("vacuum", after: full, [.append([(0, 1)]), .vacuum(.init()), .append([(1, 1)]), .reopen]),
    .init("element", after: full, [.vacuum(.init(element: .f32)), .append([(1, 1)]), .vacuum(.init(element: .bf16))]),
    .init(
      "page size", after: full,
      [
        .append([(0, 1)]), .vacuum(.init(pageByteCount: 8_192)), .append([(1, 1)]), .reopen, .append([(1, 1)]),
      ]),
    .init(
      "normal", .normal, after: full,
      [
        .append([(0, 1)]), batch(0..<6, 2), .fold, .append([(1, 1)]), .delete(2), .vacuum(.init()), .append([(0, 3)]),
      ]),
  ]

  // MARK: What is expected

  static func apply(_ step: CrashStep, to old: CrashState) -> CrashState {
    var state = old
    switch step {
    case .append(let requests):
      for (user, count) in requests {
        var history = state.histories[user] ?? .init(tags: [], model: state.model)
        if history.model != state.model { history = .init(tags: [], model: state.model) }
        // A deleted user's next rows are others.
        let first = 1 + 1_000 * user + 7 * history.tags.count + state.histories.count
        history.tags += (0..<count).map { first + 3 * $0 }
        state.histories[user] = history
      }
    case .delete(let user): state.histories[user] = nil
    case .swap: state.model = 1 - state.model
    case .fold, .vacuum, .reopen: break
    }
    return state
  }

  /// Exact in every element type.
  static func entries(_ tags: [Int]) -> Entries {
    func numbers(_ width: Int) -> [Float] {
      (0..<width).flatMap { column in tags.map { Float(($0 &* 37 &+ column &* 11) % 128) / 64 - 1 } }
    }
    let layer = LayerEntries(
      keyIndices: tags.map { UInt32($0 % 16) }, valueIndices: tags.map { UInt32($0 % 9) }, keyUser: numbers(2),
      valueUser: numbers(3))
    return Entries(count: tags.count, layers: [layer], items: tags.map(Int64.init))
  }

  // MARK: Doing it

  static func modelFile(_ root: String, _ number: Int) -> String { "\(root)/model-\(number).safetensors" }

  /// The files that a workload starts from: a store that was closed, or, `isOpen`, one whose process went away.
  func prepare(isOpen: Bool = false) throws -> CrashImage {
    let directory = try TemporaryDirectory()
    for (number, model) in Self.models.enumerated() { try model.write(to: Self.modelFile(directory.path, number)) }
    var store: CacheStore? = try CacheStore.create(
      at: directory.file(Self.storeName), model: Self.modelFile(directory.path, 0),
      options: .init(keepsItems: true, pageByteCount: 4_096, durability: durability))
    var state = CrashState()
    for step in preparation {
      try Self.perform(step, &store, directory.path, state, durability)
      state = Self.apply(step, to: state)
    }
    if !isOpen { try store?.close() }
    defer { _ = store }
    return try CrashImage(of: directory.path)
  }

  static func open(_ root: String, _ durability: Durability) throws(StoreError) -> CacheStore {
    try CacheStore.open(at: "\(root)/\(storeName)", options: .init(durability: durability))
  }

  static func perform(
    _ step: CrashStep, _ store: inout CacheStore?, _ root: String, _ state: CrashState, _ durability: Durability
  ) throws(StoreError) {
    if store == nil { store = try open(root, durability) }
    switch step {
    case .append(let requests):
      let after = apply(step, to: state)
      var batch: [AppendRequest] = []
      for (user, count) in requests {
        let tags = after.histories[user]!.tags
        batch.append(
          AppendRequest(
            user: .integer(Int64(user)), source: .entries(entries(Array(tags.suffix(count)))),
            expectedPosition: tags.count - count, resetsStaleUser: true))
      }
      try store!.append(batch)
    case .delete(let user): _ = try store!.delete(user: .integer(Int64(user)))
    case .fold: try store!.fold()
    case .vacuum(let options): _ = try store!.vacuum(options)
    case .swap:
      try store!.close()
      store = nil
      try CacheStore.replaceModel(at: "\(root)/\(storeName)", with: modelFile(root, 1 - state.model))
    case .reopen:
      try store!.close()
      store = nil
      store = try open(root, durability)
    }
  }

  // MARK: Judging

  /// Which of the states the store is in; `nil`: none of them.
  static func match(_ store: CacheStore, _ candidates: [CrashState]) throws -> CrashState? {
    var seen: [Int: Entries] = [:]
    var stale: Set<Int> = []
    for user in 0..<userCount {
      do throws(StoreError) { seen[user] = try store.entries(of: .integer(Int64(user))) } catch {
        switch error {
        case .unknownUser: break
        case .staleUser: stale.insert(user)
        default: throw error
        }
      }
    }
    return candidates.last { state in
      (0..<userCount).allSatisfy { user in
        guard let history = state.histories[user] else { return seen[user] == nil && !stale.contains(user) }
        if history.model != state.model { return stale.contains(user) }
        return seen[user] == entries(history.tags)
      }
    }
  }

  /// What every user has, for the message of a test that fails.
  private static func contents(_ store: CacheStore) throws -> String {
    var text = ""
    try store.forEachHistory { text += " \($0.user): \($0.length)\($0.isStale ? " stale" : "")" }
    return text
  }

  /// Opens what a crash or a fault left, and puts it to use.
  ///
  /// - Returns: what is wrong; `nil`: nothing.
  static func judge(_ root: String, _ candidates: [CrashState], mayLose: Bool = false) -> String? {
    do {
      // Commits that did not wait for the disk may be gone, and are reported; others may not.
      let options = OpenOptions(durability: .normal, acceptsRollback: mayLose)
      var store: CacheStore? = try CacheStore.open(at: "\(root)/\(storeName)", options: options)
      guard var state = try match(store!, candidates) else {
        return "commits are missing, halved or invented: \(try contents(store!))"
      }
      let problems = try store!.verify().problems.filter { !isLeftover($0) }
      guard problems.isEmpty else { return "verify: \(problems)" }
      let more = CrashStep.append([(0, 2), (5, 1)])
      try perform(more, &store, root, state, .normal)
      state = apply(more, to: state)
      try store!.fold()
      guard try match(store!, [state]) != nil else { return "an append afterwards went wrong" }
      try store!.close()
      return nil
    } catch {
      return "\(error)"
    }
  }

  /// A model file that the store never came to name, whole or not, does no harm, and verify names it.
  private static func isLeftover(_ problem: VerifyReport.Problem) -> Bool {
    // Nothing waits for the watermark's slots; the next synced commit heals them.
    if problem.reason == WatermarkState.unreadable.description { return true }
    return (problem.reason.hasPrefix("pool-") || problem.reason.hasPrefix(".ckvdb-unfinished-"))
      && problem.reason.hasSuffix("does not belong to the store")
  }
}
