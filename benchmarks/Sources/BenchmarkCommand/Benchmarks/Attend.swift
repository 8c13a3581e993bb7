/// Softmax attention of one query from the store, beside one copy of the same user's full f16 keys and values from
/// memory into a fixed buffer. Cold: a random user out of a set whose full keys and values are at least four times the
/// last-level cache. Hot: the same user over and over.

import CollectiveKV
import Glibc

enum AttendBenchmark {
  static func run(_ options: Options) throws {
    let report = Report("attend", options)
    let setByteCount = options.sized(8 << 20, 4 * Machine.lastLevelCacheByteCount)
    report.parameter("fullSetBytes", .integer(setByteCount))
    report.parameter("queries", .integer(1))
    for heads in [1, 4] {
      try options.withDirectory { directory in
        try ModelFile(heads: heads).write(to: directory + "/model.safetensors", seed: options.seed)
        for length in [100, 1_000, 10_000] {
          try measure(directory, heads, length, setByteCount, report, options)
        }
      }
    }
    report.note("for information: the attention kernels have their own bounds")
    try report.finish()
  }

  private static func measure(
    _ directory: String, _ heads: Int, _ length: Int, _ setByteCount: Int, _ report: Report, _ options: Options
  ) throws {
    let historyByteCount = length * PositionBytes.fullF16
    let users = setByteCount / historyByteCount + 1
    let population = Population(users: users, .equal(length), seed: options.seed)
    let engine = try CKVDBEngine(path: "\(directory)/\(length).ckv", model: directory + "/model.safetensors")
    try engine.load(population)
    let full = UnsafeMutableRawPointer.allocate(byteCount: users * historyByteCount, alignment: 4_096)
    let copy = UnsafeMutableRawPointer.allocate(byteCount: historyByteCount, alignment: 4_096)
    defer { full.deallocate(); copy.deallocate() }
    memset(full, 1, users * historyByteCount)
    var random = SplitMix(seed: options.seed)
    let queries = (0..<16).map { _ in (0..<256).map { _ in Float(random.normal()) } }
    for isCold in [true, false] {
      var (ours, copies) = (Samples(), Samples())
      for round in 0...options.sized(2, 20) {
        let places = (0..<options.sized(3, 50)).map { _ in isCold ? random.below(users) : 0 }
        for (number, place) in places.enumerated() {
          let own = try Clock.seconds {
            let output = try engine.store.attend(queries[number % 16], user: .integer(population.ids[place]))
            BlackHole.take(UInt64(output[0].bitPattern))
          }
          if round > 0 { ours.add(own) }
        }
        for place in places {
          let copied = Clock.seconds { memcpy(copy, full + place * historyByteCount, historyByteCount) }
          BlackHole.take(UInt64(copy.load(as: UInt8.self)))
          if round > 0 { copies.add(copied) }
        }
      }
      let label = "H = \(heads), n = \(length), \(isCold ? "cold" : "hot")"
      report.measured("\(label): ckvdb, p50", ours.median * 1e6, "us")
      report.measured("\(label): memcpy of full f16 K and V, p50", copies.median * 1e6, "us")
      report.measured("\(label): ckvdb / memcpy", ours.median / copies.median, "ratio")
    }
    try engine.close()
  }
}
