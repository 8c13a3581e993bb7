/// One position per commit, beside one 4 KiB write and fdatasync into a file that has its space already.

extension AppendBenchmark {
  static func single(
    _ place: (label: String, parent: String), _ population: Population, _ report: Report, _ options: Options
  ) throws {
    let makers: [Maker] = [.ckvdb, .rocksDBSmall(keepsLengths: false), .pages, .lmdb]
    try options.withDirectory(in: place.parent) { directory in
      report.progress("single positions on \(place.label)")
      let engines = try makers.map { maker in
        let engine = try maker.make(directory, options)
        try engine.load(population)
        return engine
      }
      let file = try SyncedFile(path: directory + "/preallocated", byteCount: 16 << 20)
      var streams = engines.map { _ in EventStream(population, .zipf, seed: options.seed) }
      var samples = engines.map { _ in Samples() }
      var floor = Samples()
      for round in 0...options.sized(2, 40) {
        for place in engines.indices {
          for _ in 0..<25 {
            let commit = Commit(streams[place].next(1), for: engines[place])
            let seconds = try Clock.seconds { try engines[place].commit(commit) }
            if round > 0 { samples[place].add(seconds) }
          }
          // Right behind ckvdb, so that both see the same disk.
          for _ in 0..<(place == 0 ? 25 : 0) {
            let seconds = try Clock.seconds { try file.write() }
            if round > 0 { floor.add(seconds) }
          }
        }
      }
      file.close()
      let label = "commit of 1, \(place.label)"
      report.measured("\(label): 4 KiB pwrite + fdatasync, p50", floor.median * 1e6, "us")
      for (maker, samples) in zip(makers, samples) {
        report.measured("\(label): \(maker.label), p50", samples.median * 1e6, "us")
      }
      let ratio = samples[0].median / floor.median
      if place.label == "disk" {
        report.figure("\(label): ckvdb / 4 KiB pwrite + fdatasync", ratio, must: .atMost(1.2), aim: .atMost(1.05))
      } else {
        report.measured("\(label): ckvdb / 4 KiB pwrite + fdatasync", ratio, "ratio")
      }
      for (engine, stream) in zip(engines, streams) {
        try check(engine, population, stream, options)
        try engine.close()
      }
    }
  }
}
