/// Several processes and threads at one store: writers, readers, a folder, a vacuumer, one that deletes; now and then
/// one of them is killed. No read may be wrong, and nothing that was acknowledged may be missing.
/// CKVDB_STRESS_SECONDS says how long.

import CollectiveKV
import Foundation
import Testing

struct StressTests {
  private static let seconds =
    ProcessInfo.processInfo.environment["CKVDB_STRESS_SECONDS"].flatMap(Double.init) ?? 6

  /// The processes that take part.
  private final class Cast {
    static let roles = ["write", "write", "read", "fold", "vacuum", "own"]
    let store: String
    let directory: TemporaryDirectory
    let plan: StressPlan
    let tally: StressTally
    var workers: [WorkerProcess] = []
    private var nextNumber = 0

    init(store: String, in directory: TemporaryDirectory) throws {
      (self.store, self.directory) = (store, directory)
      plan = try StressPlan(directory.file("cells"))
      tally = StressTally(plan, faults: directory.file("faults"))
      for role in Self.roles { workers.append(try start(role)) }
    }

    /// A writer's number is its own for ever; each has two threads.
    private func start(_ role: String) throws -> WorkerProcess {
      let number = reserveWriters()
      let worker = try WorkerProcess()
      try worker.tell(
        "stress \(role) \(store) \(directory.file("cells")) \(directory.file("faults")) \(number)")
      return worker
    }

    func reserveWriters() -> Int {
      defer { nextNumber += 2 }
      plan.writerCount = nextNumber + 2
      return nextNumber
    }

    func replace(_ place: Int) throws {
      workers[place].kill()
      workers[place] = try start(Self.roles[place])
    }
  }

  @Test func `no read is wrong while processes append, fold, vacuum, delete and are killed`() throws {
    let seed = Int.random(in: 0..<1 << 30)
    var random = SeededRandom(seed)
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(
      StressPlan.model, .init(keepsItems: true, keepsTimestamps: true, pageByteCount: 4_096, durability: .normal))
    let cast = try Cast(store: store.path, in: directory)
    let (plan, tally) = (cast.plan, cast.tally)
    let group = DispatchGroup()
    for (role, number) in [("write", cast.reserveWriters()), ("read", 1 << 20)] {
      group.enter()
      Thread.detachNewThread {
        StressRole.play(role, store, plan, number: number, tally)
        group.leave()
      }
    }
    var kills = 0
    let end = Date(timeIntervalSinceNow: Self.seconds)
    while Date() < end {
      usleep(UInt32(200_000 + random.below(400_000)))
      try cast.replace(random.below(Cast.roles.count))
      kills += 1
    }
    plan.isOver = true
    group.wait()
    for worker in cast.workers { #expect(try worker.answer() == "ok") }
    let counted = StressTally.Count.allCases.map { "\($0) \(tally[$0])" }.joined(separator: ", ")
    print("stress, seed \(seed), \(Self.seconds) s: \(kills) kills, \(counted)")
    #expect(tally[.wrong] == 0, "seed \(seed): \(tally.faults)")
    for count in [StressTally.Count.reads, .appends, .deletes, .folds] {
      #expect(tally[count] > 10, "seed \(seed): \(count)")
    }
    try store.close()
    try Self.judgeWhatIsLeft(at: store.path, plan, tally, seed)
  }

  /// Everything that anybody acknowledged, the killed ones too, is there, and the store is sound.
  private static func judgeWhatIsLeft(
    at path: String, _ plan: StressPlan, _ tally: StressTally, _ seed: Int
  ) throws {
    let store = try CacheStore.open(at: path)
    var reader = StressReader(store, plan, tally, 0)
    #expect(reader.readAll() == nil, "seed \(seed)")
    let report = try store.verify()
    #expect(report.problems == [], "seed \(seed)")
    #expect(try report.positions == store.statistics().positions)
    try store.fold()
    _ = try store.vacuum()
    #expect(reader.readAll() == nil, "seed \(seed), after vacuum")
  }
}
