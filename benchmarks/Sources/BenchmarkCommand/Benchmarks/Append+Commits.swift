/// The time of one commit of 256 single positions of 256 users, all engines in turns.

extension AppendBenchmark {
  static func commits(
    _ place: (label: String, parent: String), _ population: Population, _ report: Report, _ options: Options
  ) throws {
    let makers: [Maker] = [
      .ckvdb, .rocksDBSmall(keepsLengths: false), .rocksDBSmall(keepsLengths: true), .pages, .lmdb, .rows,
    ]
    try options.withDirectory(in: place.parent) { directory in
      let engines = try makers.map { maker in
        report.progress("commits on \(place.label): loading \(maker.label)")
        let engine = try maker.make(directory, options)
        try engine.load(population)
        return engine
      }
      var start = population
      for kind in [UserDraw.Kind.zipf, .uniform] {
        report.progress("commits on \(place.label), \(kind.rawValue)")
        let label = "commit of 256, \(place.label), \(kind.rawValue)"
        var streams = engines.map { _ in EventStream(start, kind, seed: options.seed) }
        let samples = try measure(engines, &streams, options)
        for (engine, stream) in zip(engines, streams) { try check(engine, population, stream, options) }
        start.lengths = streams[0].lengths
        for (maker, samples) in zip(makers, samples) {
          report.measured("\(label): \(maker.label), p50", samples.median * 1e6, "us")
          report.measured("\(label): \(maker.label), mean", samples.mean * 1e6, "us")
          report.measured("\(label): \(maker.label), p99", samples.quantile(0.99) * 1e6, "us")
        }
        judge("\(label), p50", samples.map(\.median), report)
        judge("\(label), mean", samples.map(\.mean), report)
      }
      for engine in engines { try engine.close() }
    }
  }

  /// The mean counts what a median hides: checkpoints, folds and stalls that only some commits pay for.
  private static func judge(_ label: String, _ seconds: [Double], _ report: Report) {
    let ours = seconds[0]
    report.figure(
      "\(label): faster RocksDB / ckvdb", min(seconds[1], seconds[2]) / ours, must: .atLeast(2), aim: .atLeast(2.5))
    report.figure("\(label): page-rewriting SQLite / ckvdb", seconds[3] / ours, must: .atLeast(8))
    report.measured("\(label): LMDB / ckvdb", seconds[4] / ours, "ratio")
  }

  private static func measure(_ engines: [any Engine], _ streams: inout [EventStream], _ options: Options) throws
    -> [Samples]
  {
    var samples = engines.map { _ in Samples() }
    for round in 0...options.sized(2, 20) {
      for place in engines.indices {
        let commits = (0..<options.sized(3, 20)).map { _ in
          Commit(streams[place].next(256, distinct: true), for: engines[place])
        }
        for commit in commits {
          let seconds = try Clock.seconds { try engines[place].commit(commit) }
          if round > 0 { samples[place].add(seconds) }  // the first round warms up
        }
      }
    }
    return samples
  }
}
