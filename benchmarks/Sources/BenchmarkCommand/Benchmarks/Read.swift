/// Reads of one user's 500 positions: ckvdb and its peers in turns over the same users, warm.

import CollectiveKV

enum ReadBenchmark {
  static func run(_ options: Options) throws {
    let report = Report("read", options)
    report.parameter("positionsPerUser", .integer(500))
    report.parameter("peerEntryBytes", .integer(Entry.byteCount))
    let cached = try compare(
      Case(label: "cached", users: options.sized(40, 400), cacheByteCount: 64 << 20), report, options)
    judge(cached, "cached", rows: 8, report)
    let beyond = try compare(
      Case(label: "beyond", users: options.sized(400, 20_000), cacheByteCount: readerCacheByteCount), report, options)
    judge(beyond, "beyond SQLite's cache", rows: 5, report)
    if options.size == .full { try growth(report, options) }
    report.note("peers' reads copy 11 bytes a position into one buffer; ckvdb's also checks and decodes every row")
    try report.finish()
  }

  /// What one reading connection of ckvdb keeps by default: peers get the same.
  private static let readerCacheByteCount = 24 << 20

  private struct Case {
    var label: String
    var users: Int
    var cacheByteCount: Int
  }

  private struct Medians {
    var ckvdb = Double.nan
    var rows = Double.nan
    var rocksDB = Double.nan
    var lmdb = Double.nan
  }

  private static func compare(_ which: Case, _ report: Report, _ options: Options) throws -> Medians {
    var medians = Medians()
    report.parameter("\(which.label)Positions", .integer(which.users * 500))
    report.parameter("\(which.label)PeerCacheBytes", .integer(which.cacheByteCount))
    try options.withDirectory { directory in
      let population = Population(users: which.users, .equal(500), seed: options.seed)
      let engines = try self.engines(directory, which.cacheByteCount, options)
      for engine in engines {
        report.progress("\(which.label): loading \(engine.name)")
        try engine.load(population)
      }
      report.result(hash: try agree(engines, population, options))
      let samples = try measure(engines, population, options)
      for (engine, samples) in zip(engines, samples) {
        report.measured("\(which.label): \(engine.name), p50", samples.median * 1e6, "us")
        report.measured("\(which.label): \(engine.name), p99", samples.quantile(0.99) * 1e6, "us")
        let bytesEach = Double(engine.byteCount) / Double(population.positions)
        report.measured("\(which.label): \(engine.name), on disk", bytesEach, "B per position")
      }
      medians = Medians(
        ckvdb: samples[0].median, rows: samples[1].median, rocksDB: samples[2].median, lmdb: samples[3].median)
      for engine in engines { try engine.close() }
    }
    return medians
  }

  private static func judge(_ medians: Medians, _ label: String, rows: Double, _ report: Report) {
    report.figure(
      "\(label): SQLite row per position / ckvdb", medians.rows / medians.ckvdb, must: .atLeast(rows),
      aim: .atLeast(10))
    report.figure(
      "\(label): RocksDB key per position / ckvdb", medians.rocksDB / medians.ckvdb, must: .atLeast(10),
      aim: .atLeast(20))
    report.measured("\(label): LMDB value per user / ckvdb", medians.lmdb / medians.ckvdb, "ratio")
  }

  private static func engines(_ directory: String, _ cacheByteCount: Int, _ options: Options) throws -> [any Engine] {
    try ModelFile().write(to: directory + "/model.safetensors", seed: options.seed)
    return [
      try CKVDBEngine(path: directory + "/store.ckv", model: directory + "/model.safetensors"),
      try SQLiteRows(path: directory + "/rows", cacheByteCount: cacheByteCount),
      try RocksDBKeys(
        path: directory + "/rocksdb", RocksDBKeys.Settings(blockCacheByteCount: cacheByteCount)),
      try LMDBValues(path: directory + "/lmdb"),
      try SQLitePages(path: directory + "/pages", cacheByteCount: cacheByteCount),
    ]
  }

  /// Every engine returns the same entries for a sample of users; their hash.
  private static func agree(_ engines: [any Engine], _ population: Population, _ options: Options) throws -> UInt64 {
    var random = SplitMix(seed: options.seed)
    var total: UInt64 = 0
    for _ in 0..<50 {
      let place = random.below(population.count)
      let (user, length) = (population.ids[place], population.lengths[place])
      let wanted = population.hash(of: user, count: length)
      for engine in engines {
        let seen = try engine.hash(of: user)
        guard seen.positions == length, seen.hash == wanted else {
          throw BenchmarkError("\(engine.name): wrong entries of user \(user): \(seen.positions) of \(length)")
        }
      }
      total = SplitMix.mix(total ^ wanted)
    }
    return total
  }

  /// In turns: some reads of each engine, the same users for all, many times over. Every user was read once before, so
  /// that every engine's caches are as full as they get.
  private static func measure(_ engines: [any Engine], _ population: Population, _ options: Options) throws -> [Samples]
  {
    var samples = engines.map { _ in Samples() }
    for engine in engines { for user in population.ids { _ = try engine.read(user) } }
    var random = SplitMix(seed: options.seed ^ 0x7265_6164)
    let rounds = options.sized(2, 20)
    for round in 0...rounds {
      let users = (0..<options.sized(20, 500)).map { _ in population.ids[random.below(population.count)] }
      for (place, engine) in engines.enumerated() {
        for user in users {
          let seconds = try Clock.seconds { BlackHole.take(UInt64(try engine.read(user))) }
          if round > 0 { samples[place].add(seconds) }  // the first round warms up
        }
      }
    }
    return samples
  }

  /// The same read from stores of 10^7 and 10^8 positions, in turns.
  private static func growth(_ report: Report, _ options: Options) throws {
    try options.withDirectory { directory in
      try ModelFile().write(to: directory + "/model.safetensors", seed: options.seed)
      let populations = [20_000, 200_000].map { Population(users: $0, .equal(500), seed: options.seed) }
      let engines = try populations.enumerated().map { number, population in
        report.progress("growth: loading \(population.positions) positions")
        let engine = try CKVDBEngine(path: "\(directory)/\(number).ckv", model: directory + "/model.safetensors")
        try engine.load(population)
        return engine
      }
      var samples = [Samples(), Samples()]
      var random = SplitMix(seed: options.seed)
      for round in 0...40 {
        for place in 0...1 {
          for _ in 0..<500 {
            let user = populations[place].ids[random.below(populations[place].count)]
            let seconds = try Clock.seconds { BlackHole.take(UInt64(try engines[place].read(user))) }
            if round > 0 { samples[place].add(seconds) }
          }
        }
      }
      for place in 0...1 {
        report.measured("\(populations[place].positions) positions: ckvdb, p50", samples[place].median * 1e6, "us")
        report.measured(
          "\(populations[place].positions) positions: ckvdb, p99", samples[place].quantile(0.99) * 1e6, "us")
      }
      report.figure(
        "10^8 positions / 10^7 positions, p50", samples[1].median / samples[0].median, must: .atMost(1.7),
        aim: .atMost(1.5))
      for engine in engines { try engine.close() }
    }
  }
}
