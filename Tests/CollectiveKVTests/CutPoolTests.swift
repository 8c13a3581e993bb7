/// The pool's file is cut while threads read from it: every call ends with right numbers or an error that names the
/// file, never with wrong numbers or the end of the process. CKVDB_CUTS says how many cuts.

import CollectiveKV
import Foundation
import Synchronization
import Testing

struct CutPoolTests {
  private static let cutCount = ProcessInfo.processInfo.environment["CKVDB_CUTS"].flatMap(Int.init) ?? 100
  private static let user: UserID = 7
  private static let positionCount = 60

  /// Four chunks of pools and a page of items behind them.
  private static let model = TestModel(
    TestModel.shape([
      LayerShape(key: TestModel.part(2, 30, 512), value: TestModel.part(2, 30, 512), heads: 2),
      LayerShape(
        key: TestModel.part(2, 16, 300, isAdditive: true), value: TestModel.part(1, 16, 300, isAdditive: true), heads: 1
      ),
    ]), itemCount: 200)

  /// What is read from the pool in one way or another, by name.
  private struct Call: Sendable {
    var name: String
    var run: @Sendable (CacheStore) throws -> [Float]
  }

  private static let query = (0..<32).map { Float($0 % 5) / 4 - 0.5 }
  private static let calls: [Call] = [
    Call(name: "attend") { try $0.attend(query + query, user: user) },
    Call(name: "additive") { try $0.attend(Array(query.prefix(16)), user: user, layer: 1) },
    Call(name: "topk") { try $0.attend(query, user: user, .topk(top: 9)) },
    Call(name: "select") {
      try $0.attend(query, user: user, .select(top: 9, layer: 1), selectQueries: Array(query.prefix(16)))
    },
    Call(name: "batch") {
      let requests = Array(repeating: AttendRequest(user: user, queries: query), count: 6)
      return try $0.attend(requests, threads: 2).flatMap { (response) throws -> [Float] in
        if let error = response.error { throw error }
        return response.output
      }
    },
    Call(name: "candidates") { store in
      try store.attend(store.candidates(Array(repeating: query, count: 6).flatMap { $0 }), user: user)
    },
    Call(name: "reconstruct") {
      let full = try $0.reconstruct(user: user, layer: 1)
      return full.keys + full.values
    },
    Call(name: "reconstruct into memory") { store in
      var keys = [Float](repeating: 0, count: positionCount * 32)
      try keys.withUnsafeMutableBytes {
        _ = try store.reconstruct(user: user, layer: 0, keys: .init($0, element: .f32), values: nil)
      }
      return keys
    },
    Call(name: "stage") { store in
      let stage = try store.stage([user], counts: [1])
      try stage.encode(layer: 0, Array(query.prefix(6)))
      return try stage.attend(layer: 0, query, mask: .historyAndSelf)
    },
    Call(name: "encode") { store in
      let entries = try store.encode(Array(query.prefix(12)), count: 1)
      return entries.layers[0].keyUser + entries.layers[1].valueUser + entries.layers[0].keyIndices.map(Float.init)
    },
  ]

  /// Everything about one cut, from the seed.
  private struct Cut {
    var seed: Int
    var length: Int
    var delay: Duration
    var isWarm: Bool

    init(seed: Int, byteCount: Int) {
      var random = SeededRandom(seed &* 104_729)
      self.seed = seed
      switch random.below(4) {
      case 0: length = byteCount - 1 - random.below(5_000)
      case 1: length = random.below(byteCount / 4_096) * 4_096
      default: length = random.below(byteCount)
      }
      delay = .microseconds(random.below(1_500))
      isWarm = random.chance(70)
    }
  }

  /// A store, closed.
  private final class Prepared {
    let directory: TemporaryDirectory
    let path: String
    let pool: String
    let bytes: [UInt8]
    let expected: [[Float]]
    let word: String

    init(isOnDisk: Bool) throws {
      directory = try TemporaryDirectory(isOnDisk: isOnDisk)
      let store = try directory.makeStore(model)
      try store.append(user: user, items: (0..<Int64(positionCount)).map { $0 * 3 % 200 })
      expected = try calls.map { try $0.run(store) }
      path = store.path
      pool = "\(path)/pool-\(store.model.digest).safetensors"
      word = "\(pool): the file was truncated or became unreadable while it was open"
      try store.close()
      bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: pool)))
    }

    func restore() throws {
      // A new file: the old one's mappings keep what is left of it.
      try Data(bytes).write(to: URL(fileURLWithPath: pool), options: .atomic)
    }
  }

  /// What became of the calls of one cut.
  private final class Tally: Sendable {
    let right = Atomic(0)
    let refused = Atomic(0)
    let wrong = Mutex<[String]>([])
  }

  private static func play(_ cut: Cut, _ prepared: Prepared, _ tally: Tally) throws {
    try prepared.restore()
    let store = try CacheStore.open(at: prepared.path, options: .init(durability: .normal))
    if cut.isWarm {
      for call in calls { _ = try call.run(store) }
    }
    let isCut = Atomic(false)
    let group = DispatchGroup()
    let (expected, word) = (prepared.expected, prepared.word)
    for worker in 0..<2 {
      DispatchQueue.global().async(group: group) {
        var random = SeededRandom(cut.seed &* 2 + worker)
        var callsAfter = 0
        while callsAfter < 2 * calls.count {
          // Every call once behind the cut, whatever was drawn before it.
          let place = callsAfter > 0 ? callsAfter % calls.count : random.below(calls.count)
          if isCut.load(ordering: .acquiring) { callsAfter += 1 }
          do {
            let seen = try calls[place].run(store)
            if let found = difference(seen, expected[place]) {
              tally.wrong.withLock {
                $0.append("seed \(cut.seed), \(cut.length) bytes, \(calls[place].name): \(found)")
              }
            }
            tally.right.add(1, ordering: .relaxed)
          } catch {
            if error as? StoreError != .damaged(word) {
              tally.wrong.withLock {
                $0.append("seed \(cut.seed), \(cut.length) bytes, \(calls[place].name): \(error)")
              }
            }
            tally.refused.add(1, ordering: .relaxed)
          }
        }
      }
    }
    Thread.sleep(forTimeInterval: Double(cut.delay.components.attoseconds) / 1e18)
    let result = truncate(prepared.pool, cut.length)
    isCut.store(true, ordering: .releasing)
    group.wait()
    #expect(result == 0)
    let problems = try store.verify().problems.map(\.description)
    if !problems.contains(where: { $0.contains(word) }) {
      tally.wrong.withLock { $0.append("seed \(cut.seed), \(cut.length) bytes, verify: \(problems)") }
    }
    try store.close()
  }

  @Test func `a pool that is cut while threads read it is an error, never a crash or wrong numbers`() throws {
    let tally = Tally()
    let places = [try Prepared(isOnDisk: false), try Prepared(isOnDisk: true)]
    for seed in 0..<Self.cutCount {
      let place = places[seed % 2]
      try Self.play(Cut(seed: seed, byteCount: place.bytes.count), place, tally)
    }
    let wrong = tally.wrong.withLock { $0 }
    #expect(wrong.isEmpty, "\(wrong.prefix(5).joined(separator: "\n"))")
    let (right, refused) = (tally.right.load(ordering: .relaxed), tally.refused.load(ordering: .relaxed))
    #expect(right > 0 && refused > 0)
    print(
      "pool cut under a live map: \(Self.cutCount) cuts, 0 crashes, \(wrong.count) wrong; "
        + "\(right) calls right, \(refused) refused")
  }

  @Test func `a call after the cut is refused, whichever it is, and a store opened before works again after restoring`()
    throws
  {
    let prepared = try Prepared(isOnDisk: false)
    for length in [0, 4_096, prepared.bytes.count / 2, prepared.bytes.count - 1] {
      try prepared.restore()
      let store = try CacheStore.open(at: prepared.path)
      // Pools that were verified before: only the cut itself can be found.
      for call in Self.calls where call.name != "encode" { _ = try call.run(store) }
      #expect(truncate(prepared.pool, length) == 0)
      for call in Self.calls where call.name != "encode" {
        #expect(throws: StoreError.damaged(prepared.word), "\(call.name)") { try call.run(store) }
      }
      let appending = thrown { () throws(StoreError) in try store.append(user: Self.user, items: [1]) }
      #expect(appending == .damaged(prepared.word))
      #expect(try store.length(of: Self.user) == Self.positionCount)
      #expect(try store.entries(of: Self.user).count == Self.positionCount)
      try store.close()
      try prepared.restore()
      let again = try CacheStore.open(at: prepared.path)
      #expect(try Self.calls[0].run(again) == prepared.expected[0])
      try again.close()
    }
  }
}
