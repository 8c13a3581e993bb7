/// kill -9 at a chosen operation: a worker process forks a child that goes through a workload and ends, as if killed,
/// at the operation that it was told. CKVDB_KILLS says how many children die.

import CFileShim
import CollectiveKV
import Foundation
import Testing

/// The worker's part. It has no store open while it forks, and its other threads wait.
enum KillRole {
  /// `ROOT SEED COUNT`: kills that many children; the answer counts them.
  static func play(_ words: [String]) throws -> String {
    let root = words[0]
    var random = SeededRandom(Int(words[1])!)
    let count = Int(words[2])!
    let page = mmap(nil, 4_096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)!
    defer { munmap(page, 4_096) }
    let plays = try CrashWorkload.all.map { workload in
      let image = try workload.prepare()
      return (workload, image, try operations(workload, image, root))
    }
    for number in 0..<count {
      let (workload, image, operations) = plays[number % plays.count]
      let index = random.below(operations)
      try image.write(below: root)
      page.storeBytes(of: 0, as: Int.self)
      let child = ckv_shim_fork()
      if child == 0 {
        run(workload, root, killAt: index) { page.storeBytes(of: $0, as: Int.self) }
        _exit(0)
      }
      var status: Int32 = 0
      guard child > 0, waitpid(child, &status, 0) == child, status & 0x7F == SIGKILL else {
        return "error \(workload.name), operation \(index): the child ended with \(status)"
      }
      let done = page.load(as: Int.self)
      let candidates = Array(workload.states[done...min(done + 1, workload.steps.count)])
      if let fault = CrashWorkload.judge(root, candidates) {
        return "error \(workload.name), killed at operation \(index) after \(done) steps: \(fault)"
      }
      try empty(root)
    }
    return "ok \(count)"
  }

  private static func operations(_ workload: CrashWorkload, _ image: CrashImage, _ root: String) throws -> Int {
    try image.write(below: root)
    let shim = try FileShim(root)
    try steps(workload, root) { _ in }
    let count = shim.operationCount
    try empty(root)
    return count
  }

  private static func empty(_ root: String) throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: root) {
      try FileManager.default.removeItem(atPath: "\(root)/\(name)")
    }
  }

  private static func run(_ workload: CrashWorkload, _ root: String, killAt index: Int, _ done: (Int) -> Void) {
    guard let shim = try? FileShim(root) else { return }
    shim.setFault(CKV_FAULT_KILL, at: index)
    try? steps(workload, root, done)
    withExtendedLifetime(shim) {}
  }

  private static func steps(_ workload: CrashWorkload, _ root: String, _ done: (Int) -> Void) throws {
    var store: CacheStore? = try CrashWorkload.open(root, workload.durability)
    for (place, step) in workload.steps.enumerated() {
      try CrashWorkload.perform(step, &store, root, workload.states[place], workload.durability)
      done(place + 1)
    }
    try store?.close()
  }
}

struct KillTests {
  @Test func `a process killed at any operation has lost no acknowledged commit`() throws {
    let count = Figure.count("CKVDB_KILLS", 300)
    let seed = Figure.count("CKVDB_KILL_SEED", 1)
    let directory = try TemporaryDirectory()
    let worker = try WorkerProcess()
    var killed = 0
    // Within the worker's patience.
    while killed < count {
      let part = min(100, count - killed)
      let answer = try worker.ask("kills \(directory.path) \(seed &* 1_000_003 &+ killed) \(part)")
      try #require(answer == "ok \(part)", "seed \(seed), after \(killed) kills")
      killed += part
    }
    Figure.report("kill -9, commits kept", killed, of: count)
  }
}
