/// A million positions from the first commit to the closed store: folds and compactions belong to the price. Each
/// engine runs alone, on a store just loaded; the engines take turns.

extension AppendBenchmark {
  private struct Outcome {
    /// Until the last position is committed.
    var commits = Samples()
    /// Until the work that the engine left for later is done and the store is closed.
    var settled = Samples()
    /// The same, brought into its most compact form before the close (only RocksDB has more to do).
    var compacted = Samples()
    var processor = Samples()
  }

  static func wholeRuns(
    _ place: (label: String, parent: String), _ population: Population, _ report: Report, _ options: Options
  ) throws {
    let positions = options.sized(20_000, 1_000_000)
    report.parameter("wholeRunPositions", .integer(positions))
    for kind in [UserDraw.Kind.zipf, .uniform] {
      // Lengths kept: seeking them takes RocksDB longer in every case of append-commits.
      var makers: [Maker] = [.ckvdb, .rocksDBSmall(keepsLengths: true), .rocksDBDefault(keepsLengths: true)]
      var outcomes = makers.map { _ in Outcome() }
      for _ in 0..<(place.label == "disk" ? options.sized(1, 3) : 1) {
        for number in makers.indices {
          try wholeRun(makers[number], kind, positions, place, &outcomes[number], population, report, options)
        }
      }
      if kind == .zipf {
        for maker in [Maker.pages, .lmdb] {
          var outcome = Outcome()
          try wholeRun(maker, kind, positions, place, &outcome, population, report, options)
          makers.append(maker)
          outcomes.append(outcome)
        }
      }
      publish(makers, outcomes, kind, place.label, positions, report)
    }
  }

  private static func wholeRun(
    _ maker: Maker, _ kind: UserDraw.Kind, _ positions: Int, _ place: (label: String, parent: String),
    _ outcome: inout Outcome, _ population: Population, _ report: Report, _ options: Options
  ) throws {
    report.progress("whole run on \(place.label), \(kind.rawValue): \(maker.label)")
    var seconds = (commits: 0.0, settled: 0.0, compacted: 0.0, processor: 0.0)
    try options.withDirectory(in: place.parent) { directory in
      let engine = try maker.make(directory, options)
      try engine.load(population)
      var stream = EventStream(population, kind, seed: options.seed)
      let commits = stride(from: 0, to: positions, by: 256).map { start in
        Commit(stream.next(min(256, positions - start)), for: engine)
      }
      let processor = Clock.processor()
      let start = Clock.now()
      for commit in commits { try engine.commit(commit) }
      seconds.commits = Clock.now() - start
      try engine.settle()
      let settled = Clock.now()
      if engine is RocksDBKeys { try engine.compact() }
      let compacted = Clock.now()
      // Looking is not part of the run.
      try check(engine, population, stream, options)
      let closing = try Clock.seconds { try engine.close() }
      seconds.settled = settled - start + closing
      seconds.compacted = compacted - start + closing
      seconds.processor = Clock.processor() - processor
    }
    outcome.commits.add(seconds.commits)
    outcome.settled.add(seconds.settled)
    outcome.compacted.add(seconds.compacted)
    outcome.processor.add(seconds.processor)
  }

  private static func publish(
    _ makers: [Maker], _ outcomes: [Outcome], _ kind: UserDraw.Kind, _ place: String, _ positions: Int, _ report: Report
  ) {
    let label = "whole run, \(place), \(kind.rawValue)"
    let unit = 1e6 / Double(positions)
    for (maker, outcome) in zip(makers, outcomes) {
      report.measured("\(label): \(maker.label), commits alone", outcome.commits.median * unit, "us per position")
      report.measured("\(label): \(maker.label), settled", outcome.settled.median * unit, "us per position")
      if maker.label.hasPrefix("RocksDB") {
        report.measured("\(label): \(maker.label), compacted", outcome.compacted.median * unit, "us per position")
      }
      report.measured("\(label): \(maker.label), processor", outcome.processor.median * unit, "us per position")
    }
    let ours = outcomes[0].settled.median
    let bounds: [(name: String, place: Int, must: Bound?, aim: Bound?)] =
      kind == .zipf
      ? [("at equal memory", 1, .atLeast(2), .atLeast(3)), ("with defaults", 2, .atLeast(1.5), .atLeast(2))]
      : [("at equal memory", 1, nil, nil), ("with defaults", 2, .atLeast(1.2), nil)]
    for (name, place, must, aim) in bounds {
      let settled = outcomes[place].settled.median / ours
      report.figure("\(label): RocksDB \(name), settled / ckvdb", settled, must: must, aim: aim)
      let compacted = outcomes[place].compacted.median / ours
      report.figure("\(label): RocksDB \(name), compacted / ckvdb", compacted, must: nil)
    }
  }
}
