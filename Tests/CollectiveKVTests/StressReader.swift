/// Reads in every way there is and judges what it gets.

import CollectiveKV

struct StressReader {
  let store: CacheStore
  let plan: StressPlan
  let tally: StressTally
  private var random: SeededRandom
  /// Lengths that this reader has seen: a pair's users never get shorter.
  private var lengths: [Int: Int] = [:]

  init(_ store: CacheStore, _ plan: StressPlan, _ tally: StressTally, _ number: Int) {
    (self.store, self.plan, self.tally) = (store, plan, tally)
    random = SeededRandom(number)
  }

  func run() {
    var reader = self
    while !plan.isOver { reader.readOnce() }
  }

  private mutating func readOnce() {
    let user = random.below(2 * StressPlan.pairCount)
    let fault: String?
    do throws(StoreError) {
      switch random.below(20) {
      case 0..<8: fault = try readHistory(user)
      case 8..<12: fault = try attend(user)
      case 12, 13: fault = try reconstruct(user)
      case 14..<18: fault = try readMortal(random.below(StressPlan.mortalCount))
      default: fault = readAll()
      }
    } catch {
      fault = "user \(user): \(error)"
    }
    tally.count(.reads)
    tally.note(fault)
  }

  /// `nil` for an unknown user.
  private func entries(_ user: Int) throws(StoreError) -> Entries? {
    do throws(StoreError) { return try store.entries(of: .integer(Int64(user))) } catch {
      guard error == .unknownUser(.integer(Int64(user))) else { throw error }
      return nil
    }
  }

  private mutating func readHistory(_ user: Int) throws(StoreError) -> String? {
    let acknowledged = plan.acknowledgements(user / 2)
    let entries = try entries(user)
    return judge(user, entries, acknowledged).map { "user \(user): \($0)" }
  }

  private mutating func judge(_ user: Int, _ entries: Entries?, _ acknowledged: [Int]) -> String? {
    if let fault = noteLength(user, entries?.count ?? 0) { return fault }
    guard let entries else { return StressPlan.fault([:], acknowledged) }
    switch StressPlan.batches(user, entries) {
    case .failure(let fault): return fault.description
    case .success(let newest): return StressPlan.fault(newest, acknowledged)
    }
  }

  private mutating func noteLength(_ user: Int, _ length: Int) -> String? {
    let before = lengths[user, default: 0]
    guard length >= before else { return "\(length) positions, \(before) before" }
    lengths[user] = length
    return nil
  }

  private mutating func attend(_ user: Int) throws(StoreError) -> String? {
    let other = (user + 5) % (2 * StressPlan.pairCount)
    let requests = [user, other].map { AttendRequest(user: .integer(Int64($0)), queries: [1, 0.5, -0.5, 0.25]) }
    for (user, response) in zip([user, other], try store.attend(requests)) {
      if let error = response.error {
        if error != .unknownUser(.integer(Int64(user))) { return "attend: \(error)" }
        continue
      }
      if let fault = noteLength(user, response.length) { return "attend, user \(user): \(fault)" }
      // Whatever the weights are, they add up to one.
      guard response.output.count == 5, (response.output[0] + Float(user)).magnitude <= 1e-4 * Float(user + 1) else {
        return "attend, user \(user): \(response.output)"
      }
    }
    return nil
  }

  private mutating func reconstruct(_ user: Int) throws(StoreError) -> String? {
    let known = lengths[user, default: 0]
    guard known > 0 else { return nil }
    let first = random.below(known)
    let positions = first..<min(known, first + 200)
    let full = try store.reconstruct(user: .integer(Int64(user)), layer: 0, positions: positions)
    guard full.positions == positions else { return "reconstruct, user \(user): \(full.positions) of \(positions)" }
    for position in 0..<positions.count
    where full.keys[position * 4] != Float(user) || full.values[position * 5] != -Float(user) {
      return "reconstruct, user \(user): \(full.keys[position * 4])"
    }
    return nil
  }

  private func readMortal(_ mortal: Int) throws(StoreError) -> String? {
    let user = StressPlan.firstMortal + mortal
    let before = plan.life(mortal)
    let entries = try entries(user)
    return StressPlan.fault(user, entries, before, plan.life(mortal)).map { "user \(user): \($0)" }
  }

  /// One snapshot of everybody: both users of a pair have the same batches.
  mutating func readAll() -> String? {
    let acknowledged = (0..<StressPlan.pairCount).map { plan.acknowledgements($0) }
    let before = (0..<StressPlan.mortalCount).map { plan.life($0) }
    var seen: [Int: Entries] = [:]
    do {
      try store.forEachHistory { history in
        guard case .integer(let user) = history.user, seen[Int(user)] == nil, history.length == history.entries.count
        else { throw StressFault("\(history.user) \(history.length)") }
        seen[Int(user)] = history.entries
      }
    } catch {
      return "histories: \(error)"
    }
    for pair in 0..<StressPlan.pairCount {
      var newest: [[Int: Int]] = []
      for user in [2 * pair, 2 * pair + 1] {
        if let fault = judge(user, seen[user], acknowledged[pair]) { return "histories, user \(user): \(fault)" }
        newest.append(seen[user].flatMap { try? StressPlan.batches(user, $0).get() } ?? [:])
      }
      guard newest[0] == newest[1] else { return "pair \(pair): \(newest[0]) beside \(newest[1])" }
    }
    for mortal in 0..<StressPlan.mortalCount {
      let user = StressPlan.firstMortal + mortal
      if let fault = StressPlan.fault(user, seen[user], before[mortal], plan.life(mortal)) {
        return "histories, user \(user): \(fault)"
      }
    }
    return nil
  }
}
