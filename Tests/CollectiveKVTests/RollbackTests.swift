/// Stores whose database is not the newest that was: what opening, stat and verify say, and how one goes on.

import CollectiveKV
import Foundation
import Testing

struct RollbackTests {
  private let directory: TemporaryDirectory
  private let path: String
  private var database: String { path + "/users.sqlite" }
  private var mark: String { path + "/watermark" }

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file("shop.ckv")
  }

  private func openingError(_ options: OpenOptions = .init()) -> StoreError? {
    thrown { () throws(StoreError) in _ = try CacheStore.open(at: path, options: options) }
  }

  private func append(_ store: CacheStore, _ user: UserID = 1, count: Int = 1) throws {
    for _ in 0..<count { try store.append(user: user, embeddings: Array(repeating: 0.5, count: 6)) }
  }

  /// A closed store whose database is the one of so many commits ago; user 1 had as many more positions.
  private func makeRolledBack(by commits: Int, _ durability: Durability = .full) throws {
    do {
      let store = try directory.makeStore(.plain, .init(durability: durability))
      try append(store, count: 4)
      try store.close()
    }
    let old = try directory.bytes(of: "shop.ckv/users.sqlite")
    do {
      let store = try CacheStore.open(at: path, options: .init(durability: durability))
      try append(store, count: commits)
      // A process that ends leaves a log; one that closes leaves none.
      try store.close()
    }
    try directory.write(old, to: "shop.ckv/users.sqlite")
  }

  private func contents() throws -> [String: [UInt8]] {
    var contents: [String: [UInt8]] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: path) where name != "users.sqlite-shm" {
      let bytes = try directory.bytes(of: "shop.ckv/" + name)
      if !bytes.isEmpty { contents[name] = bytes }
    }
    return contents
  }

  // MARK: Rolled back

  @Test(arguments: [1, 3, 255, 256, 300])
  func `an older database is reported with the number of commits it lacks`(commits: Int) throws {
    try makeRolledBack(by: commits, commits > 3 ? .normal : .full)
    let before = try contents()
    for access in [OpenOptions.Access.readWrite, .readOnly] {
      for durability in [Durability.full, .normal] {
        #expect(
          openingError(.init(access: access, durability: durability)) == .rolledBack(path: database, commits: commits))
      }
    }
    #expect(try contents() == before)
  }

  @Test func `who reads a rolled-back store with consent changes nothing and is told`() throws {
    try makeRolledBack(by: 3)
    let before = try contents()
    do {
      let store = try CacheStore.open(at: path, options: .init(access: .readOnly, acceptsRollback: true))
      #expect(try store.length(of: 1) == 4)
      guard case .rolledBack(let commits) = try store.watermarkState() else {
        Issue.record("not told")
        return
      }
      #expect(try store.statistics().watermark == .rolledBack(commits: commits))
      #expect(try store.verify().problems.map(\.reason) == ["rolled back by \(commits) commits"])
    }
    #expect(try contents() == before)
    #expect(openingError() != nil)
  }

  @Test func `once a loss was accepted the store is whole, and the next loss is reported again`() throws {
    try makeRolledBack(by: 300, .normal)
    do {
      let store = try CacheStore.open(at: path, options: .init(acceptsRollback: true))
      #expect(try store.watermarkState() == .sound)
      #expect(try store.length(of: 1) == 4)
      #expect(try store.verify().problems == [])
    }
    let accepted = try directory.bytes(of: "shop.ckv/users.sqlite")
    for _ in 0..<2 {
      let store = try CacheStore.open(at: path)
      #expect(try store.verify().problems == [])
      try append(store, count: 5)
      try store.close()
    }
    #expect(try CacheStore.open(at: path).length(of: 1) == 14)
    try directory.write(accepted, to: "shop.ckv/users.sqlite")
    guard case .rolledBack(database, let lost) = openingError() else {
      Issue.record("the second loss goes unnoticed")
      return
    }
    #expect(lost >= 10)
  }

  @Test func `a copy of all files, older as a whole, is a store like any other`() throws {
    let store = try directory.makeStore(.plain)
    try append(store, count: 4)
    try store.close()
    try FileManager.default.copyItem(atPath: path, toPath: directory.file("backup"))
    let again = try CacheStore.open(at: path)
    try append(again, count: 4)
    try again.close()
    #expect(try CacheStore.open(at: directory.file("backup")).length(of: 1) == 4)
  }

  // MARK: Watermarks that say nothing

  /// What is done to the watermark, what it then is, and whether opening is refused.
  enum Fault: CaseIterable { case missing, foreign, zeroed, cut, random }

  private func apply(_ fault: Fault) throws -> WatermarkState {
    switch fault {
    case .missing:
      try FileManager.default.removeItem(atPath: mark)
      return .missing
    case .foreign:
      try directory.makeStore(.plain, named: "other.ckv").close()
      try directory.write(try directory.bytes(of: "other.ckv/watermark"), to: "shop.ckv/watermark")
      return .foreign
    case .zeroed: try directory.write(Array(repeating: 0, count: 8_192), to: "shop.ckv/watermark")
    case .cut: try directory.write([], to: "shop.ckv/watermark")
    case .random:
      var random = SeededRandom(5)
      try directory.write((0..<8_192).map { _ in UInt8(random.below(256)) }, to: "shop.ckv/watermark")
    }
    return .unreadable
  }

  @Test(arguments: Fault.allCases)
  func `a watermark that says nothing is reported, and gone after a commit with consent`(fault: Fault) throws {
    try directory.makeStore(.plain).close()
    let state = try apply(fault)
    // What a loss of power can leave is let through; what needs a hand is not.
    let isRefused = state != .unreadable
    for access in isRefused ? [OpenOptions.Access.readWrite, .readOnly] : [.readOnly] {
      #expect(openingError(.init(access: access)) == (isRefused ? .damaged("\(mark): \(state)") : nil))
    }
    do {
      let store = try CacheStore.open(at: path, options: .init(access: .readOnly, acceptsRollback: true))
      #expect(try store.watermarkState() == state)
      #expect(try store.statistics().watermark == state)
      #expect(try store.verify().problems.map(\.reason) == [state.description])
    }
    do {
      let store = try CacheStore.open(at: path, options: .init(acceptsRollback: true))
      #expect(store.watermarkAtOpening == state)
      try append(store)
      #expect(try store.watermarkState() == .sound)
      try store.close()
    }
    #expect(try permissions(of: mark) == 0o600)
    #expect(try CacheStore.open(at: path).verify().problems == [])
  }

  @Test func `a watermark that is a link or a directory is refused, consent or not`() throws {
    try directory.makeStore(.plain).close()
    try directory.makeStore(.plain, named: "other.ckv").close()
    func expectRefusal() {
      for accepts in [false, true] {
        #expect(openingError(.init(acceptsRollback: accepts)) == .damaged("\(mark): is not a regular file"))
      }
    }
    try FileManager.default.removeItem(atPath: mark)
    try FileManager.default.createSymbolicLink(
      atPath: mark, withDestinationPath: directory.file("other.ckv/watermark"))
    expectRefusal()
    try FileManager.default.removeItem(atPath: mark)
    try FileManager.default.createSymbolicLink(atPath: mark, withDestinationPath: directory.file("nothing"))
    expectRefusal()
    try FileManager.default.removeItem(atPath: mark)
    try FileSystem.makeDirectory(mark)
    expectRefusal()
    #expect(try !FileSystem.exists(directory.file("nothing")))
  }

  // MARK: No false alarm

  @Test func `a store that another process writes to opens at any moment`() throws {
    let model = directory.file("model.safetensors")
    try TestModel.mixed.write(to: model)
    let worker = try WorkerProcess()
    #expect(try worker.ask("create \(path) \(model)") == "ok")
    for round in 0..<60 {
      // While the worker appends and folds this process opens.
      for step in 0..<4 { try worker.tell("append refuse 7::\(round * 4 + step):1") }
      try worker.tell("fold")
      #expect(openingError(.init(access: .readOnly)) == nil, "round \(round)")
      for _ in 0..<5 { #expect(try worker.answer().hasPrefix("ok")) }
    }
  }

  @Test func `two processes that append at once leave the number of the newest commit`() throws {
    let model = directory.file("model.safetensors")
    try TestModel.mixed.write(to: model)
    let workers = [try WorkerProcess(), try WorkerProcess()]
    #expect(try workers[0].ask("create \(path) \(model)") == "ok")
    #expect(try workers[1].ask("open \(path)") == "ok")
    let count = 300
    for step in 0..<count {
      for (number, worker) in workers.enumerated() { try worker.tell("append refuse \(number)::\(step):1") }
      // Some way ahead of the answers, so that both are busy all the time.
      guard step >= 20 else { continue }
      for worker in workers { #expect(try worker.answer().hasPrefix("ok")) }
    }
    for worker in workers { for _ in 0..<20 { #expect(try worker.answer().hasPrefix("ok")) } }
    let slots = try directory.bytes(of: "shop.ckv/watermark")
    let numbers = stride(from: 0, to: slots.count, by: 32).map { slot in
      slots[slot + 16..<slot + 24].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    // The commit that made the store, and all others: each of the newest 256 is in its slot.
    #expect(numbers.sorted() == Array(2 * count + 1 - 255...2 * count + 1))
    #expect(openingError(.init(access: .readOnly)) == nil)
  }

  @Test func `a process that is killed leaves a store that opens`() throws {
    let model = directory.file("model.safetensors")
    try TestModel.mixed.write(to: model)
    var random = SeededRandom(9)
    for round in 0..<12 {
      let worker = try WorkerProcess()
      #expect(try worker.ask(round == 0 ? "create \(path) \(model)" : "open \(path)") == "ok")
      for step in 0..<20 { try worker.tell(step % 7 == 6 ? "fold" : "append refuse 7::\(step):1") }
      for _ in 0..<random.below(20) { #expect(try worker.answer().hasPrefix("ok")) }
      worker.kill()
      #expect(openingError(.init(access: .readOnly)) == nil, "round \(round)")
    }
  }
}
