/// Random orders to one store, given by turns to this process and to a second one, against a dictionary that foretells
/// every answer. CKVDB_RANDOM_SEEDS says how many seeds are played.

import CollectiveKV
import Foundation
import Testing

struct RandomOperationTests {
  /// A store with two processes at it, and what it must hold.
  private final class Play {
    let seed: Int
    var random: SeededRandom
    let directory: TemporaryDirectory
    var path: String { directory.file("shop.ckv") }
    /// This process and the other one.
    let here = StoreHands()
    var there: WorkerProcess
    var isOpen = [true, true]
    var element = ElementType.f16
    var histories: [UserID: [Tag]] = [:]
    var known: [Tag: [UInt8]] = [:]
    var nextTag = 1
    let users: [UserID]

    init(seed: Int, _ worker: WorkerProcess) throws {
      self.seed = seed
      random = SeededRandom(seed)
      directory = try TemporaryDirectory()
      there = worker
      var random = random
      users = (0..<5).map { _ in Histories.user(&random) }
      self.random = random
      let model = directory.file("model.safetensors")
      try TestModel.mixed.write(to: model)
      #expect(here.obey("create \(path) \(model)") == "ok")
      #expect(try there.ask("open \(path)") == "ok")
    }

    /// Gives the order to one of the two and compares the answer.
    func expect(_ answer: String, of order: String, by process: Int) throws {
      let seen = process == 0 ? here.obey(order) : try there.ask(order)
      guard seen != answer else { return }
      Issue.record("seed \(seed): \(order) by \(process): \(seen), expected \(answer)")
    }

    func length(_ user: UserID) -> Int { histories[user]?.count ?? 0 }

    // MARK: Orders

    func append(_ process: Int) throws {
      let skips = random.chance(30)
      var batch: [String] = []
      var after = histories
      var lengths: [Int] = []
      var failure: String?
      for _ in 0..<1 + random.below(3) {
        let user = users.randomElement(using: &random)!
        let length = after[user]?.count ?? 0
        let count = random.chance(15) ? 20 + random.below(30) : random.below(6)
        let choice = random.below(10)
        let expected: Int? = choice < 5 ? nil : choice < 8 ? length : max(0, length + random.below(5) - 3)
        batch.append(StoreHands.text(user, expected, nextTag, count))
        let skipped = expected.map { length - $0 } ?? 0
        if skipped < 0 || skipped > 0 && !skips {
          let conflict = StoreError.positionConflict(user: user, expected: expected!, length: length)
          failure = failure ?? "error \(conflict)"
        }
        let tags = (nextTag..<nextTag + count).dropFirst(max(0, skipped)).map { Tag(number: $0, elements: [element]) }
        nextTag += count
        if !tags.isEmpty { after[user, default: []] += tags }
        lengths.append(after[user]?.count ?? 0)
      }
      let order = "append \(skips ? "skip" : "refuse") \(batch.joined(separator: " "))"
      try expect(failure ?? "ok \(lengths)", of: order, by: process)
      if failure == nil { histories = after }
    }

    func read(_ user: UserID, _ process: Int) throws {
      guard let history = histories[user] else {
        return try expect("error \(StoreError.unknownUser(user))", of: "read \(user)", by: process)
      }
      try expect("ok \(StoreHands.digest(history, &known))", of: "read \(user)", by: process)
    }

    func delete(_ process: Int) throws {
      let user = users.randomElement(using: &random)!
      if let history = histories.removeValue(forKey: user) {
        try expect("ok \(history.count)", of: "delete \(user)", by: process)
      } else {
        try expect("error \(StoreError.unknownUser(user))", of: "delete \(user)", by: process)
      }
    }

    func vacuum(_ process: Int) throws {
      switch random.below(4) {
      case 0, 1: try expect("ok", of: "vacuum", by: process)
      case 2:
        let target = [ElementType.f32, .f16, .bf16][random.below(3)]
        try expect("ok", of: "vacuum \(target.name)", by: process)
        guard target != element else { return }
        element = target
        for user in histories.keys {
          for place in histories[user]!.indices { histories[user]![place].elements.append(target) }
        }
      default:
        // The page size changes only while nobody else has the store open.
        try expect("ok", of: "close", by: 1 - process)
        isOpen[1 - process] = false
        try expect("ok", of: "vacuum \([4_096, 8_192][random.below(2)])", by: process)
        try reopen(1 - process)
      }
    }

    func reopen(_ process: Int) throws {
      if isOpen[process], random.chance(50) { try expect("ok", of: "close", by: process) }
      try expect("ok", of: "open \(path)", by: process)
      isOpen[process] = true
    }

    /// Ends the other process where it stands, between two orders.
    func kill() throws {
      there.kill()
      there = try WorkerProcess()
      try reopen(1)
    }

    func step() throws {
      let process = random.below(2)
      switch random.below(20) {
      case 0..<8: try append(process)
      case 8..<12: try read(users.randomElement(using: &random)!, process)
      case 12:
        let user = users.randomElement(using: &random)!
        let answer = histories[user].map { "ok \($0.count)" } ?? "error \(StoreError.unknownUser(user))"
        try expect(answer, of: "length \(user)", by: process)
      case 13:
        let all = histories.keys.sorted().map { " \($0)=\(length($0))" }.joined()
        try expect("ok\(all)", of: "histories", by: process)
      case 14, 15: try delete(process)
      case 16: try expect("ok", of: "fold", by: process)
      case 17: try vacuum(process)
      case 18: try reopen(process)
      default: if random.chance(20) { try kill() } else { try expect("ok", of: "fold", by: process) }
      }
    }

    func finish() throws {
      for process in 0..<2 {
        for user in users { try read(user, process) }
        try expect("ok \(histories.values.reduce(0) { $0 + $1.count })", of: "count", by: process)
        try expect("ok []", of: "verify", by: process)
      }
      try expect("ok", of: "close", by: 0)
      try expect("ok", of: "close", by: 1)
    }
  }

  private static let seedCount =
    ProcessInfo.processInfo.environment["CKVDB_RANDOM_SEEDS"].flatMap(Int.init) ?? 120
  /// Parts run side by side.
  private static let partCount = 4

  @Test(arguments: 0..<partCount)
  func `two processes at one store answer as a dictionary does`(part: Int) throws {
    var worker = try WorkerProcess()
    for seed in stride(from: part, to: Self.seedCount, by: Self.partCount) {
      let play = try Play(seed: seed, worker)
      for _ in 0..<40 { try play.step() }
      try play.finish()
      worker = play.there
    }
  }
}
