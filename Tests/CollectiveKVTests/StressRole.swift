/// The parts that a process plays in the stress, each until the plan is over.

import CollectiveKV
import Foundation

/// What was done and seen, by everybody together: the numbers stand in the shared cells and the words in a file, so
/// that nothing goes with a process that is killed.
struct StressTally: Sendable {
  enum Count: Int, CaseIterable {
    case reads = 8
    case appends, positions, conflicts, deletes, folds, vacuums, busy, wrong
  }
  private let cells: SharedCells
  private let faultFile: String

  init(_ plan: StressPlan, faults file: String) {
    cells = plan.cells
    faultFile = file
  }

  subscript(_ count: Count) -> Int { cells[count.rawValue] }

  func count(_ count: Count, by amount: Int = 1) { cells.add(amount, to: count.rawValue) }

  func note(_ fault: String?) {
    guard let fault else { return }
    count(.wrong)
    guard self[.wrong] <= 20, let file = fopen(faultFile, "a") else { return }
    fputs(fault + "\n", file)
    fclose(file)
  }

  var faults: String { (try? String(contentsOfFile: faultFile, encoding: .utf8)) ?? "" }

  /// Does something that another process may keep from happening. Any other error is wrong.
  func attempt(_ name: String, _ body: () throws(StoreError) -> Void) {
    do throws(StoreError) { try body() } catch {
      if case .busy = error { count(.busy) } else { note("\(name): \(error)") }
    }
  }
}

struct StressRole {
  /// `ROLE STORE CELLS FAULTS NUMBER`.
  func play(_ words: [String]) throws -> String {
    let plan = try StressPlan(words[2])
    let store = try CacheStore.open(at: words[1], options: .init(durability: .normal))
    Self.play(words[0], store, plan, number: Int(words[4])!, StressTally(plan, faults: words[3]))
    try store.close()
    return "ok"
  }

  /// Plays a part in threads of its own and waits for them.
  static func play(_ role: String, _ store: CacheStore, _ plan: StressPlan, number: Int, _ tally: StressTally) {
    let threads: [@Sendable () -> Void] =
      switch role {
      case "write":
        [0, 1].map { thread in { StressWriter(store, plan, tally, number + thread).run() } }
      case "read":
        [0, 1].map { thread in { StressReader(store, plan, tally, number + thread).run() } }
      case "fold": [{ fold(store, plan, tally, number) }]
      case "vacuum": [{ vacuum(store, plan, tally, number) }]
      default: [{ StressOwner(store, plan, tally, number).run() }]
      }
    let group = DispatchGroup()
    for body in threads {
      group.enter()
      Thread.detachNewThread {
        body()
        group.leave()
      }
    }
    group.wait()
  }

  private static func fold(_ store: CacheStore, _ plan: StressPlan, _ tally: StressTally, _ number: Int) {
    var random = SeededRandom(number)
    while !plan.isOver {
      tally.attempt("fold") { () throws(StoreError) in
        try store.fold()
        tally.count(.folds)
      }
      usleep(UInt32(random.below(20_000)))
    }
  }

  private static func vacuum(_ store: CacheStore, _ plan: StressPlan, _ tally: StressTally, _ number: Int) {
    var random = SeededRandom(number)
    while !plan.isOver {
      usleep(UInt32(100_000 + random.below(400_000)))
      let element = [nil, ElementType.f32, .f16][random.below(3)]
      tally.attempt("vacuum") { () throws(StoreError) in
        _ = try store.vacuum(.init(element: element))
        tally.count(.vacuums)
      }
    }
  }
}

/// Appends to both users of a pair at a time.
private struct StressWriter {
  let store: CacheStore
  let plan: StressPlan
  let tally: StressTally
  let writer: Int
  var random: SeededRandom

  init(_ store: CacheStore, _ plan: StressPlan, _ tally: StressTally, _ writer: Int) {
    (self.store, self.plan, self.tally, self.writer) = (store, plan, tally, writer)
    random = SeededRandom(writer)
  }

  func run() {
    var writer = self
    var batches = Array(repeating: 0, count: StressPlan.pairCount)
    while !plan.isOver {
      let pair = writer.random.below(StressPlan.pairCount)
      writer.append(pair, batch: batches[pair] + 1) { batches[pair] += 1 }
      if writer.random.chance(50) { usleep(UInt32(writer.random.below(4_000))) }
    }
  }

  private mutating func append(_ pair: Int, batch: Int, done: () -> Void) {
    let states = random.chance(50)
    var requests: [AppendRequest] = []
    var total = 0
    for user in [2 * pair, 2 * pair + 1] {
      let count = random.below(300) == 0 ? 150 + random.below(60) : 1 + random.below(4)
      let position = states ? length(user) : nil
      let entries = StressPlan.entries(
        user,
        items: (0..<count).map { StressPlan.Mark(writer: writer, batch: batch, place: $0, count: count).item },
        timestamps: (0..<count).map { place in position.map { Int64($0 + place) } ?? -1 })
      requests.append(
        AppendRequest(user: .integer(Int64(user)), source: .entries(entries), expectedPosition: position))
      total += count
    }
    if random.chance(50) { requests.reverse() }
    do throws(StoreError) {
      let lengths = try store.append(requests)
      plan.acknowledge(writer, pair, batch)
      done()
      tally.count(.appends)
      tally.count(.positions, by: total)
      for (request, length) in zip(requests, lengths) {
        if try store.length(of: request.user) < length { tally.note("user \(request.user) is shorter than \(length)") }
      }
    } catch {
      switch error {
      case .positionConflict: tally.count(.conflicts)
      case .busy: tally.count(.busy)
      default: tally.note("append: \(error)")
      }
    }
  }

  private func length(_ user: Int) -> Int {
    do throws(StoreError) { return try store.length(of: .integer(Int64(user))) } catch {
      if error != .unknownUser(.integer(Int64(user))) { tally.note("length: \(error)") }
      return 0
    }
  }
}

/// Owns the users that live and die.
private struct StressOwner {
  let store: CacheStore
  let plan: StressPlan
  let tally: StressTally
  let number: Int

  init(_ store: CacheStore, _ plan: StressPlan, _ tally: StressTally, _ number: Int) {
    (self.store, self.plan, self.tally, self.number) = (store, plan, tally, number)
  }

  func run() {
    var random = SeededRandom(number)
    // A predecessor may have been killed anywhere in a life: it is ended here.
    for mortal in 0..<StressPlan.mortalCount { end(mortal) }
    while !plan.isOver {
      let mortal = random.below(StressPlan.mortalCount)
      if random.chance(12) { end(mortal) } else { append(mortal, random.chance(10) ? 160 : 1 + random.below(9)) }
      if random.chance(30) { usleep(UInt32(random.below(3_000))) }
    }
  }

  private func append(_ mortal: Int, _ count: Int) {
    let life = plan.life(mortal)
    let user = StressPlan.firstMortal + mortal
    let positions = life.length..<life.length + count
    let entries = StressPlan.entries(
      user, items: positions.map { Int64(life.number) << 32 | Int64($0) }, timestamps: positions.map(Int64.init))
    tally.attempt("append") { () throws(StoreError) in
      try store.append(user: .integer(Int64(user)), entries: entries, expecting: life.length)
      plan.setLength(mortal, positions.upperBound)
      tally.count(.appends)
      tally.count(.positions, by: count)
    }
  }

  private func end(_ mortal: Int) {
    let user = UserID.integer(Int64(StressPlan.firstMortal + mortal))
    plan.beginEnd(mortal)
    while true {
      do throws(StoreError) {
        _ = try store.delete(user: user)
        tally.count(.deletes)
        break
      } catch {
        if error == .unknownUser(user) { break }
        guard case .busy = error else { return tally.note("delete: \(error)") }
        tally.count(.busy)
      }
    }
    plan.beginLife(mortal)
  }
}
