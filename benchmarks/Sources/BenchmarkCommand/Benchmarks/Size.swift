/// Bytes on disk, everything counted, against the full f16 cache of the same positions and against their payload.

import CollectiveKV

enum SizeBenchmark {
  static func run(_ options: Options) throws {
    let report = Report("size", options)
    let positions = options.sized(100_000, 10_000_000)
    report.parameter("positions", .integer(positions))
    report.parameter("fullF16BytesPerPosition", .integer(PositionBytes.fullF16))
    let equal = Population.Lengths.equal(500)
    let logNormal = Population.Lengths.logNormal(median: 200, sigma: 1.3, total: positions)
    for (lengthsName, lengths) in [("500 each", equal), ("log-normal lengths", logNormal)] {
      for element in [ElementType.f16, .i8] {
        let population = Population(users: positions / 500, lengths, seed: options.seed)
        try afterVacuum("\(element.name), \(lengthsName)", element, population, report, options)
      }
    }
    for kind in [UserDraw.Kind.zipf, .uniform] { try afterStream(kind, report, options) }
    if options.size == .smoke { report.note("the pool and empty pages outweigh the rows at this size") }
    try report.finish()
  }

  private static func afterVacuum(
    _ label: String, _ element: ElementType, _ population: Population, _ report: Report, _ options: Options
  ) throws {
    try options.withDirectory { directory in
      report.progress(label)
      try ModelFile().write(to: directory + "/model.safetensors", seed: options.seed)
      let engine = try CKVDBEngine(
        path: directory + "/store.ckv", model: directory + "/model.safetensors", element: element)
      try engine.fill(population)
      let before = engine.byteCount
      try engine.compact()
      let statistics = try engine.store.statistics()
      try engine.close()
      let isHalf = element == .f16
      let payload = (isHalf ? PositionBytes.payloadF16 : PositionBytes.payloadI8) * Double(population.positions)
      let bytes = Double(engine.byteCount)
      report.figure(
        "\(label): disk / full f16 cache", bytes / Double(population.positions * PositionBytes.fullF16) * 100, "%",
        must: .atMost(isHalf ? 1.2 : 0.8), aim: .atMost(isHalf ? 1.1 : 0.7))
      report.figure("\(label): disk / payload", bytes / payload, must: .atMost(1.10), aim: .atMost(1.08))
      report.measured(
        "\(label): disk without the pool / payload", (bytes - Double(statistics.poolByteCount)) / payload, "ratio")
      report.measured("\(label): bytes per position", bytes / Double(population.positions), "B")
      report.measured("\(label): before vacuum", Double(before) / Double(population.positions), "B per position")
      report.measured(
        "\(label): allocated by the file system", Double(Files.allocatedByteCount(engine.path)) / bytes, "ratio")
    }
  }

  /// Single positions, 256 to a commit, into an empty store; a clean close; no vacuum.
  private static func afterStream(_ kind: UserDraw.Kind, _ report: Report, _ options: Options) throws {
    let positions = options.sized(20_000, 1_000_000)
    let label = "stream of single positions, \(kind.rawValue)"
    try options.withDirectory { directory in
      report.progress(label)
      try ModelFile().write(to: directory + "/model.safetensors", seed: options.seed)
      let engine = try CKVDBEngine(path: directory + "/store.ckv", model: directory + "/model.safetensors")
      var stream = EventStream(
        Population(users: positions / 100, .equal(0), seed: options.seed), kind, seed: options.seed)
      for start in stride(from: 0, to: positions, by: 256) {
        try engine.commit(Commit(stream.next(min(256, positions - start)), for: engine))
      }
      try engine.close()
      let bytes = Double(engine.byteCount)
      report.figure(
        "\(label): disk / full f16 cache", bytes / Double(positions * PositionBytes.fullF16) * 100, "%",
        must: .atMost(1.8), aim: .atMost(1.5))
      report.measured("\(label): disk / payload", bytes / (PositionBytes.payloadF16 * Double(positions)), "ratio")
    }
  }
}
