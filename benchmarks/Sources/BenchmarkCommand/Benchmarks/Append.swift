/// Appends: commits of 256 single positions, whole runs, and one position per commit, each on the disk before the next.
/// This file holds what the three share.

import CollectiveKV

enum AppendBenchmark {
  static func runCommits(_ options: Options) throws { try run("append-commits", options, commits) }
  static func runSingle(_ options: Options) throws { try run("append-single", options, single) }
  static func runWhole(_ options: Options) throws { try run("append-whole", options, wholeRuns) }

  private static func run(
    _ name: String, _ options: Options,
    _ body: (_ place: (label: String, parent: String), Population, Report, Options) throws -> Void
  ) throws {
    let report = Report(name, options)
    let population = startingPopulation(options)
    report.parameter("users", .integer(population.count))
    report.parameter("positionsPerUserBefore", .integer(100))
    report.parameter("peerCacheBytes", .integer(options.peerCacheByteCount))
    for place in options.places { try body(place, population, report, options) }
    if options.size == .smoke { report.note("much too short for flushes, folds and compactions") }
    try report.finish()
  }

  static func startingPopulation(_ options: Options) -> Population {
    Population(users: options.sized(2_000, 100_000), .equal(100), seed: options.seed)
  }

  /// An engine by name, made anew in a directory that holds the model.
  struct Maker: Sendable {
    var label: String
    var make: @Sendable (_ directory: String, _ options: Options) throws -> any Engine

    static let ckvdb = Maker(label: "ckvdb") { directory, options in
      try ModelFile().write(to: directory + "/model.safetensors", seed: options.seed)
      return try CKVDBEngine(path: directory + "/store.ckv", model: directory + "/model.safetensors")
    }
    /// At equal memory: two write buffers of 16 MiB and a block cache stay below 64 MiB.
    static func rocksDBSmall(keepsLengths: Bool) -> Maker {
      rocksDB(
        RocksDBKeys.Settings(
          writeBufferByteCount: 16 << 20, blockCacheByteCount: 16 << 20, keepsLengths: keepsLengths,
          label: "16 MiB buffer, " + (keepsLengths ? "lengths kept" : "lengths sought")))
    }
    static func rocksDBDefault(keepsLengths: Bool) -> Maker {
      rocksDB(
        RocksDBKeys.Settings(
          keepsLengths: keepsLengths, label: "defaults, " + (keepsLengths ? "lengths kept" : "lengths sought")))
    }
    static let pages = Maker(label: "SQLite, page rewritten") { directory, options in
      try SQLitePages(path: directory + "/pages", cacheByteCount: options.peerCacheByteCount)
    }
    static let rows = Maker(label: "SQLite, row per position") { directory, options in
      try SQLiteRows(path: directory + "/rows", cacheByteCount: options.peerCacheByteCount)
    }
    static let lmdb = Maker(label: "LMDB, value per user") { directory, _ in
      try LMDBValues(path: directory + "/lmdb")
    }

    private static func rocksDB(_ settings: RocksDBKeys.Settings) -> Maker {
      Maker(label: "RocksDB, \(settings.label)") { directory, _ in
        let name = settings.label.map { $0 == " " || $0 == "," ? "-" : $0 }
        return try RocksDBKeys(path: "\(directory)/rocksdb-\(String(name))", settings)
      }
    }
  }

  /// The engine holds exactly what the stream gave it: checked for a sample of users.
  static func check(_ engine: any Engine, _ population: Population, _ stream: EventStream, _ options: Options) throws {
    var random = SplitMix(seed: options.seed ^ 0xC4EC)
    for _ in 0..<50 {
      let place = random.below(population.count)
      let (user, length) = (population.ids[place], stream.lengths[place])
      let seen = try engine.hash(of: user)
      guard seen.positions == length, seen.hash == population.hash(of: user, count: length) else {
        throw BenchmarkError("\(engine.name): wrong entries of user \(user): \(seen.positions) of \(length)")
      }
    }
  }
}
