/// Memory of a process that appends, and the time to open what it left. The appending runs in a child process, so that
/// nothing else of the benchmarks is counted.

import CollectiveKV

enum OpenBenchmark {
  static let childName = "resident-child"

  static func run(_ options: Options) throws {
    let report = Report("open", options)
    let positions = options.sized(50_000, 10_000_000)
    report.parameter("positions", .integer(positions))
    report.parameter("users", .integer(users(positions)))
    try options.withDirectory { directory in
      for engine in ["ckvdb", "rocksdb"] {
        report.progress("\(positions) positions appended by a child process: \(engine)")
        var words = [childName, engine, directory, "\(positions)"]
        if options.size == .smoke { words.append("--smoke") }
        let answers = try ChildProcess.run(words)
        try publishMemory(engine, answers, report)
      }
      try opening("as the stream left it", directory, report, options)
      try lengthenTail(directory, positions, options)
      try opening("with a long tail", directory, report, options)
      try openingPeer(directory, report, options)
    }
    try report.finish()
  }

  private static func users(_ positions: Int) -> Int { max(100, positions / 100) }

  private static func publishMemory(_ engine: String, _ answers: [String: String], _ report: Report) throws {
    let mebibyte = Double(1 << 20)
    let pool = engine == "ckvdb" ? Double(ModelFile().poolByteCount) : 0
    let peak = try ChildProcess.number(answers, "peak")
    let before = try ChildProcess.number(answers, "before")
    if engine == "ckvdb" {
      report.figure(
        "ckvdb: peak resident memory of the process beyond the pool", (peak - pool) / mebibyte, "MiB",
        must: .atMost(64), aim: .atMost(32))
    } else {
      report.measured("\(engine), 16 MiB buffer: peak resident memory of the process", peak / mebibyte, "MiB")
    }
    report.measured("\(engine): of that, before the store was made", before / mebibyte, "MiB")
    report.measured("\(engine): median resident memory", try ChildProcess.number(answers, "median") / mebibyte, "MiB")
    report.measured(
      "\(engine): anonymous memory at the end", try ChildProcess.number(answers, "anonymous") / mebibyte, "MiB")
    report.measured("\(engine): seconds", try ChildProcess.number(answers, "seconds"), "s")
  }

  /// Appends single positions of uniform users, 256 to a commit, and prints what memory that took.
  static func runChild(_ options: Options) throws {
    guard options.words.count == 4, let positions = Int(options.words[3]) else { throw BenchmarkError("no positions") }
    let directory = options.words[2]
    let population = Population(users: users(positions), .equal(0), seed: options.seed)
    var stream = EventStream(population, .uniform, seed: options.seed)
    let before = ProcessMemory.resident
    let engine: any Engine
    if options.words[1] == "ckvdb" {
      engine = try AppendBenchmark.Maker.ckvdb.make(directory, options)
    } else {
      engine = try AppendBenchmark.Maker.rocksDBSmall(keepsLengths: false).make(directory, options)
    }
    var resident = Samples()
    let seconds = try Clock.seconds {
      for start in stride(from: 0, to: positions, by: 256) {
        try engine.commit(Commit(stream.next(min(256, positions - start)), for: engine))
        if start.isMultiple(of: 256 * 64) { resident.add(Double(ProcessMemory.resident)) }
      }
    }
    print("before \(before)\npeak \(ProcessMemory.peak)\nmedian \(resident.median)")
    print("anonymous \(ProcessMemory.anonymous)\nseconds \(seconds)")
    try engine.close()
  }

  /// Appends single positions until the tail is almost as long as a clean close leaves it (50,000 rows): the longest
  /// that open has to read.
  private static func lengthenTail(_ directory: String, _ positions: Int, _ options: Options) throws {
    let store = try CacheStore.open(at: directory + "/store.ckv")
    let missing = options.sized(1_024, 49_500 - (try store.statistics().tailRows))
    // Lengths only make the entries differ; the engine looks up its own.
    var stream = EventStream(
      Population(users: users(positions), .equal(0), seed: options.seed), .uniform, seed: options.seed)
    for _ in 0..<max(0, missing / 256) {
      let (runs, entries) = stream.next(256, distinct: true)
      try store.append(
        CKVDBEngine.columns(entries), runs: runs.map { AppendRun(user: .integer($0.user), count: $0.count) })
    }
    try store.close()
  }

  private static func opening(_ label: String, _ directory: String, _ report: Report, _ options: Options) throws {
    var samples = Samples()
    var tailRows = 0
    for _ in 0..<options.sized(3, 30) {
      let start = Clock.now()
      let store = try CacheStore.open(at: directory + "/store.ckv")
      samples.add(Clock.now() - start)
      tailRows = try store.statistics().tailRows
      try store.close()
    }
    report.measured("ckvdb, \(label): tail rows", Double(tailRows), "rows")
    report.figure(
      "ckvdb, \(label): open after a clean close, p50", samples.median * 1e3, "ms", must: .atMost(20),
      aim: .atMost(10))
    report.measured("ckvdb, \(label): open after a clean close, slowest", samples.quantile(1) * 1e3, "ms")
  }

  private static func openingPeer(_ directory: String, _ report: Report, _ options: Options) throws {
    let peer = try AppendBenchmark.Maker.rocksDBSmall(keepsLengths: false).make(directory, options)
    try peer.close()
    var peerSamples = Samples()
    for _ in 0..<options.sized(3, 10) {
      let start = Clock.now()
      let peer = try AppendBenchmark.Maker.rocksDBSmall(keepsLengths: false).make(directory, options)
      peerSamples.add(Clock.now() - start)
      try peer.close()
    }
    report.measured("RocksDB: open after a clean close, p50", peerSamples.median * 1e3, "ms")
  }
}
