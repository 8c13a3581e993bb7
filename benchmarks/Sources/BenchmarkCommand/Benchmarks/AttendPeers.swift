/// Softmax attention from ckvdb beside what keeps full f16 keys and values (LMDB, RocksDB, SQLite, all with one SIMD
/// kernel), what computes them again from embeddings, and PyTorch. The same users, in turns, in one run. "Cold": random
/// users out of a set whose full keys and values are four times the last-level cache; "hot": one user over and over.
/// Every user is read once before: the peers' sets are in memory since they were written, ckvdb's since then.

import CollectiveKV
import Glibc

enum AttendPeersBenchmark {
  /// What one length is measured with.
  struct Case {
    var length: Int
    var population: Population
    /// `C x d_k` with the largest C first used.
    var queries: [[Float]]
    var options: Options

    /// Rounds, and users in each of them.
    var rounds: (count: Int, users: Int) {
      if options.size == .smoke { return (2, 3) }
      return length > 10_000 ? (8, 4) : length > 1_000 ? (20, 10) : (20, 50)
    }
  }

  static func run(_ options: Options) throws {
    let report = Report("attend-peers", options)
    let setByteCount = self.setByteCount(options)
    let python = try PyTorch.find(options)
    report.parameter("fullSetBytes", .integer(setByteCount))
    report.parameter("width", .integer(FullRows.width))
    report.parameter("kernel", .string(FullAttention.levelName))
    for length in options.sized([100, 1_000], [100, 1_000, 10_000, 100_000]) {
      try options.withDirectory { directory in
        let users = setByteCount / FullRows.byteCount(positions: length) + 1
        let what = Case(
          length: length, population: Population(users: users, .equal(length), seed: options.seed),
          queries: queries(16, seed: options.seed), options: options)
        report.progress("n = \(length): loading \(users) users")
        let stores = try Stores(directory, what, setByteCount)
        try stores.agree(what)
        report.progress("n = \(length): measuring")
        for heads in Stores.heads { try measure(stores, what, heads, report) }
        if length == 1_000 || length == 10_000 {
          for heads in Stores.heads { try measureThreads(stores, what, heads, report) }
        }
        try stores.closePeers()
        if let python, length <= 10_000 {
          report.progress("n = \(length): PyTorch")
          try PyTorch.measure(python, stores, what, directory, setByteCount, report)
        }
        try stores.closeOurs()
      }
    }
    report.progress("computing keys and values again")
    try RecomputeBenchmark.report(to: report, options)
    for heads in Stores.heads { ratiosToRecomputing(heads, report) }
    report.note("the set of full keys and values lies in memory for every engine: nothing is read from the disk")
    if python == nil { report.note("no Python with PyTorch was found or asked for: its rows are left out") }
    try report.finish()
  }

  /// Full keys and values of all users: beyond any cache, within an eighth of the memory.
  static func setByteCount(_ options: Options) -> Int {
    options.sized(4 << 20, min(4 * Machine.lastLevelCacheByteCount, Machine.memoryByteCount / 8))
  }

  static func queries(_ count: Int, seed: UInt64) -> [[Float]] {
    var random = SplitMix(seed: seed ^ 0x7175_6572)
    return (0..<count).map { _ in (0..<FullRows.width).map { _ in Float(random.normal()) } }
  }

  /// In turns: some users from each engine, the same for all.
  private static func measure(_ stores: Stores, _ what: Case, _ heads: Int, _ report: Report) throws {
    let attention = FullAttention(count: what.length, heads: heads)
    let store = stores.ours[heads]!.store
    var random = SplitMix(seed: what.options.seed)
    let sets = try what.queries.map { try store.candidates($0) }
    for user in what.population.ids { _ = try store.attend(what.queries[0], user: .integer(user)) }
    for isCold in [true, false] {
      var (ours, ofSets) = (Samples(), Samples())
      var theirs = stores.peers.map { _ in Samples() }
      for round in 0...what.rounds.count {
        let users = (0..<what.rounds.users).map { _ in
          what.population.ids[isCold ? random.below(what.population.count) : 0]
        }
        for (number, user) in users.enumerated() {
          let query = what.queries[number % what.queries.count]
          let seconds = try Clock.seconds {
            let output = try store.attend(query, user: .integer(user))
            BlackHole.take(UInt64(output[0].bitPattern))
          }
          if round > 0 { ours.add(seconds) }  // the first round warms up
        }
        for (number, user) in users.enumerated() {
          let seconds = try Clock.seconds {
            let output = try store.attend(sets[number % sets.count], user: .integer(user))
            BlackHole.take(UInt64(output[0].bitPattern))
          }
          if round > 0 { ofSets.add(seconds) }
        }
        for (place, peer) in stores.peers.enumerated() {
          for (number, user) in users.enumerated() {
            let query = what.queries[number % what.queries.count]
            let seconds = try Clock.seconds { try peer.read(user) { attention.attend(query, $0) } }
            BlackHole.take(UInt64(attention.output[0].bitPattern))
            if round > 0 { theirs[place].add(seconds) }
          }
        }
      }
      let label = Self.label(heads, what.length, isCold)
      report.measured("\(label): ckvdb, p50", ours.median * 1e6, "us")
      report.measured("\(label): ckvdb with a CandidateSet, p50", ofSets.median * 1e6, "us")
      for (peer, samples) in zip(stores.peers, theirs) {
        report.measured("\(label): \(peer.name), full K and V, p50", samples.median * 1e6, "us")
      }
      for (peer, samples) in zip(stores.peers, theirs) {
        let bounds: (Double, Double)? =
          peer is LMDBFull && isCold ? [1_000: (2.2, 3), 10_000: (7, 10)][what.length] : nil
        report.figure(
          "\(label): \(peer.name) / ckvdb", samples.median / ours.median, must: (bounds?.0).map(Bound.atLeast),
          aim: (bounds?.1).map(Bound.atLeast))
        report.figure(
          "\(label): \(peer.name) / ckvdb with a CandidateSet", samples.median / ofSets.median,
          must: peer is LMDBFull && isCold && what.length == 1_000 ? .atLeast(3.3) : nil)
      }
    }
  }

  static func label(_ heads: Int, _ length: Int, _ isCold: Bool) -> String {
    "H = \(heads), n = \(length), \(isCold ? "cold" : "hot")"
  }

  private static func ratiosToRecomputing(_ heads: Int, _ report: Report) {
    for length in [1_000, 10_000] {
      let label = Self.label(heads, length, true)
      guard let ours = report.value("\(label): ckvdb, p50"),
        let theirs = report.value("\(label): \(RecomputeBenchmark.name), p50")
      else { continue }
      report.measured("\(label): \(RecomputeBenchmark.name) / ckvdb", theirs / ours, "ratio")
    }
  }

  // MARK: Two threads

  /// What two threads do in a second, over what one does; LMDB's beside it, whose readers share nothing.
  private static func measureThreads(_ stores: Stores, _ what: Case, _ heads: Int, _ report: Report) throws {
    let store = stores.ours[heads]!.store
    let count = what.options.sized(20, 400_000 / what.length * 5)
    func ours(_ seed: Int, _ attend: @escaping (Int, UserID) throws -> [Float]) -> () throws -> Void {
      {
        var random = SplitMix(seed: UInt64(seed))
        for number in 0..<count {
          let user = what.population.ids[random.below(what.population.count)]
          let output = try attend(number % what.queries.count, .integer(user))
          guard output.count == FullRows.width else { throw BenchmarkError("an output of \(output.count)") }
        }
      }
    }
    let lmdb = stores.lmdb
    func theirs(_ seed: Int) -> () throws -> Void {
      {
        let reader = try LMDBFullReader(lmdb)
        defer { reader.close() }
        let attention = FullAttention(count: what.length, heads: heads)
        var random = SplitMix(seed: UInt64(seed))
        for number in 0..<count {
          let user = what.population.ids[random.below(what.population.count)]
          try reader.read(user) { attention.attend(what.queries[number % what.queries.count], $0) }
        }
      }
    }
    let label = "H = \(heads), n = \(what.length), cold: two threads / one thread"
    let own = try gain(what.options) { ours($0) { try store.attend(what.queries[$0], user: $1) } }
    report.figure("\(label), ckvdb", own, must: .atLeast(1.8), aim: .atLeast(1.95))
    let sets = try what.queries.map { try store.candidates($0) }
    let ofSets = try gain(what.options) { ours($0) { try store.attend(sets[$0], user: $1) } }
    report.figure("\(label), ckvdb with a CandidateSet", ofSets, must: .atLeast(1.8), aim: .atLeast(1.95))
    report.measured("\(label), LMDB", try gain(what.options, theirs), "ratio")
  }

  private static func gain(_ options: Options, _ work: (Int) -> () throws -> Void) throws -> Double {
    var gains = Samples()
    for round in 0...options.sized(1, 9) {
      let one = try Threads.seconds([work(round * 2)])
      let two = try Threads.seconds([work(round * 2), work(round * 2 + 1)])
      if round > 0 { gains.add(2 * one / two) }
    }
    return gains.median
  }
}
