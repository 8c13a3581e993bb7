/// The operating system refuses: an error at every operation of every step, once and for ever, while a store is opened
/// and recovered too, and a disk that is full. CKVDB_IO_ERRORS says how many errors are made in all.

import CFileShim
import CollectiveKV
import Foundation
import Synchronization
import Testing

/// One step under a fault, and then the store without it.
struct FaultTrial {
  let workload: CrashWorkload
  /// Which of the workload's steps.
  let place: Int
  let image: CrashImage

  /// - Parameter arm: sets the fault before the store is opened.
  /// - Returns: what is wrong, and whether the fault has happened.
  func run(below root: String, arm: (FileShim) -> Void) throws -> (fault: String?, happened: Bool, operations: Int) {
    try FileSystem.makeDirectory(root)
    defer { try? FileManager.default.removeItem(atPath: root) }
    try image.write(below: root)
    let shim = try FileShim(root)
    arm(shim)
    let (fault, candidates) = go(root, shim)
    let (happened, operations) = (shim.faultCount > 0, shim.operationCount)
    if let fault { return (fault, happened, operations) }
    guard shim.openFileCount == 0 else { return ("\(shim.openFileCount) files stay open", happened, operations) }
    shim.setFault(CKV_FAULT_NONE, at: 0)
    shim.setQuota(nil)
    return (CrashWorkload.judge(root, candidates), happened, operations)
  }

  private func go(_ root: String, _ shim: FileShim) -> (fault: String?, candidates: [CrashState]) {
    let (before, after) = (workload.states[place], workload.states[place + 1])
    var store: CacheStore?
    do throws(StoreError) { store = try CrashWorkload.open(root, workload.durability) } catch {
      return (nil, [before])
    }
    var candidates = [before]
    var failure: StoreError?
    do throws(StoreError) {
      try CrashWorkload.perform(workload.steps[place], &store, root, before, workload.durability)
      candidates = [after]
    } catch {
      failure = error
      candidates = [before, after]
    }
    if let store {
      // Whatever it says now is right or an error.
      do {
        if try CrashWorkload.match(store, candidates) == nil {
          return ("a read is wrong, \(failure as Any)", candidates)
        }
      } catch is StoreError {
      } catch {
        return ("\(error)", candidates)
      }
      if case .poisoned = failure {
        let next = thrown { () throws(StoreError) in try store.fold() }
        switch next {
        case .poisoned, .closed: break
        default: return ("\(next as Any) after the outcome was unknown", candidates)
        }
      }
      try? store.close()
    }
    return (nil, candidates)
  }
}

struct FaultTests {
  private static let asked = Figure.count("CKVDB_IO_ERRORS", 5_000)
  private static let total = Mutex((errors: 0, workloads: 0))
  private static let faults = [
    CKV_FAULT_EIO, CKV_FAULT_ENOSPC, CKV_FAULT_SHORT_READ, CKV_FAULT_SHORT_WRITE, CKV_FAULT_SYNC,
  ]

  /// The files that a step starts from: closed, or with a log that has to be recovered.
  static func images(_ workload: CrashWorkload) throws -> [FaultTrial] {
    try workload.steps.indices.flatMap { place in
      let before = CrashWorkload(
        workload.name, workload.durability, after: workload.preparation + workload.steps[..<place], [])
      return try [false, true].map { isOpen in
        FaultTrial(workload: workload, place: place, image: try before.prepare(isOpen: isOpen))
      }
    }
  }

  @Test(arguments: CrashWorkload.all.indices)
  func `an error of the system at any operation is reported and loses nothing`(number: Int) throws {
    let trials = try Self.images(CrashWorkload.all[number])
    let directory = try TemporaryDirectory()
    let root = directory.file("trial")
    let operations = try trials.map { try $0.run(below: root) { _ in }.operations }
    let wanted = (Self.asked + CrashWorkload.all.count - 1) / CrashWorkload.all.count
    // Every kind of fault at every operation, thinned out to what is asked for.
    let all = operations.reduce(0, +) * Self.faults.count * 2
    let share = Double(wanted * 5 / 4) / Double(all)
    var due = 0.0
    var happened = 0
    var problems: [String] = []
    for (place, trial) in trials.enumerated() {
      for index in 0..<operations[place] {
        for fault in Self.faults {
          for isForever in [false, true] {
            due += share
            guard due >= 1, problems.count < 5 else { continue }
            due -= 1
            let result = try trial.run(below: root) { $0.setFault(fault, at: index, forever: isForever) }
            if result.happened { happened += 1 }
            if let problem = result.fault {
              let name = "\(trial.workload.name), image \(place), operation \(index), fault \(fault.rawValue)"
              problems.append("\(name)\(isForever ? " for ever" : ""): \(problem)")
            }
          }
        }
      }
    }
    // An error in the midst of a change of the page size can leave pages that recovery does not put right.
    let isKnown = { (problem: String) in problem.hasPrefix("page size") && problem.contains("malformed") }
    if problems.contains(where: isKnown) {
      withKnownIssue("an error while the page size changes") { Issue.record("\(problems.filter(isKnown))") }
    }
    #expect(problems.filter { !isKnown($0) } == [])
    let totals = Self.total.withLock { total in
      total.errors += happened
      total.workloads += 1
      return total
    }
    print(
      "errors of the system, \(CrashWorkload.all[number].name): \(happened) at \(operations.reduce(0, +)) operations")
    if totals.workloads == CrashWorkload.all.count {
      Figure.report("injected I/O errors", totals.errors, of: Self.asked)
    }
  }

  @Test func `a failed sync of a commit poisons the store object`() throws {
    let workload = CrashWorkload.all[0]
    let directory = try TemporaryDirectory()
    try workload.prepare().write(below: directory.path)
    let shim = try FileShim(directory.path)
    var store: CacheStore? = try CrashWorkload.open(directory.path, .full)
    shim.setFault(CKV_FAULT_SYNC, at: shim.operationCount)
    for attempt in 0..<2 {
      let error = thrown { () throws(StoreError) in
        try CrashWorkload.perform(workload.steps[0], &store, directory.path, workload.states[0], .full)
      }
      #expect(error != nil, "attempt \(attempt)")
      if attempt == 1, case .poisoned = error { continue }
      #expect(attempt == 0, "\(error as Any)")
    }
    #expect(shim.faultCount == 1)
  }

  @Test func `a disk that is full at any KiB loses no commit`() throws {
    let sizes = Figure.count("CKVDB_DISK_SIZES", 64)
    let steps: [CrashStep] = [.append([(0, 300)]), .vacuum(.init(element: .f32))]
    let workload = CrashWorkload("full disk", after: CrashWorkload.all[0].preparation, steps)
    let directory = try TemporaryDirectory()
    var survived = 0
    var full = 0
    let trials = try Self.images(workload)
    for size in 0..<sizes {
      let trial = trials[size % trials.count]
      // The log grows by half a MiB at a time where there is room for it: small quotas are the tight ones.
      let result = try trial.run(below: directory.file("trial")) { $0.setQuota(size * 1_024) }
      #expect(result.fault == nil, "\(size) KiB, trial \(size % trials.count)")
      if result.happened { full += 1 }
      if result.fault == nil { survived += 1 }
    }
    #expect(full > min(sizes, 64) / 4)
    Figure.report("disk full at every KiB", survived, of: sizes)
  }
}
