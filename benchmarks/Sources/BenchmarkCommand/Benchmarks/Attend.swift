/// Softmax attention of one query from the store, and reconstruction into f16, beside one copy of the same user's
/// full f16 keys and values from memory into a fixed buffer. Cold: a random user out of a set whose full keys and
/// values are at least four times the last-level cache. Hot: the same user over and over. Every user was read once
/// before, as the full keys and values were written once: both sets are in memory, not in the processor's caches. The
/// store then has the histories decoded, as far as they fit its share of memory; "rows read anew" is without that.

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
        for bound in bounds where bound.heads == heads {
          try measure(directory, bound, setByteCount, report, options)
        }
      }
    }
    try report.finish()
  }

  /// What attention may take, as a share of the copy, with users drawn from the whole set.
  private struct AttendBound {
    var heads: Int
    var length: Int
    var must: Double
    var aim: Double
  }

  private static let bounds = [
    AttendBound(heads: 1, length: 100, must: 0.75, aim: 0.55),
    AttendBound(heads: 1, length: 1_000, must: 0.40, aim: 0.28),
    AttendBound(heads: 1, length: 10_000, must: 0.10, aim: 0.06),
    AttendBound(heads: 4, length: 100, must: 0.80, aim: 0.60),
    AttendBound(heads: 4, length: 1_000, must: 0.45, aim: 0.32),
    AttendBound(heads: 4, length: 10_000, must: 0.13, aim: 0.08),
  ]

  private static func measure(
    _ directory: String, _ bound: AttendBound, _ setByteCount: Int, _ report: Report, _ options: Options
  ) throws {
    let (heads, length) = (bound.heads, bound.length)
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
    let candidates = try queries.map { try engine.store.candidates($0) }
    // The same store without decoded histories: every request reads the user's rows through SQLite.
    let rereading = try CacheStore.open(at: engine.path, options: OpenOptions(historyCacheByteCount: 0))
    for user in population.ids {
      _ = try engine.store.attend(queries[0], user: .integer(user))
      _ = try rereading.attend(queries[0], user: .integer(user))
    }
    for isCold in [true, false] {
      let reconstructs = heads == 1 && length == 1_000
      var (ours, reread, copies, reconstructions) = (Samples(), Samples(), Samples(), Samples())
      var (sets, batches) = (Samples(), Samples())
      // Requests follow each other long enough that the pools are where steady traffic keeps them.
      let roundCount = options.sized(3, max(50, 100_000 / length))
      for round in 0...options.sized(2, 20) {
        let places = (0..<roundCount).map { _ in isCold ? random.below(users) : 0 }
        for (number, place) in places.enumerated() {
          let own = try Clock.seconds {
            let output = try engine.store.attend(queries[number % 16], user: .integer(population.ids[place]))
            BlackHole.take(UInt64(output[0].bitPattern))
          }
          if round > 0 { ours.add(own) }
        }
        for (number, place) in places.enumerated() {
          let own = try Clock.seconds {
            let output = try rereading.attend(queries[number % 16], user: .integer(population.ids[place]))
            BlackHole.take(UInt64(output[0].bitPattern))
          }
          if round > 0 { reread.add(own) }
        }
        for (number, place) in places.enumerated() where length == 1_000 {
          let own = try Clock.seconds {
            let output = try engine.store.attend(candidates[number % 16], user: .integer(population.ids[place]))
            BlackHole.take(UInt64(output[0].bitPattern))
          }
          if round > 0 { sets.add(own) }
        }
        if length == 1_000 {
          let requests = places.prefix(8).enumerated().map { number, place in
            AttendRequest(user: .integer(population.ids[place]), queries: queries[number])
          }
          let own = try Clock.seconds { BlackHole.take(UInt64(try engine.store.attend(requests).count)) }
          if round > 0 { batches.add(own) }
        }
        for place in places where reconstructs {
          let own = try Clock.seconds {
            try engine.store.reconstruct(
              user: .integer(population.ids[place]), layer: 0,
              keys: RowDestination(half(copy, historyByteCount, 0), element: .f16),
              values: RowDestination(half(copy, historyByteCount, 1), element: .f16))
          }
          BlackHole.take(UInt64(copy.load(as: UInt8.self)))
          if round > 0 { reconstructions.add(own) }
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
      report.figure(
        "\(label): ckvdb / memcpy", ours.median / copies.median, must: isCold ? .atMost(bound.must) : nil,
        aim: isCold ? .atMost(bound.aim) : nil)
      report.measured("\(label): rows read anew / memcpy", reread.median / copies.median, "ratio")
      if length == 1_000 {
        report.measured("\(label): with a CandidateSet, p50", sets.median * 1e6, "us")
        report.figure(
          "\(label): with a CandidateSet / memcpy", sets.median / copies.median,
          must: isCold ? .atMost(heads == 1 ? 0.25 : 0.30) : nil, aim: isCold ? .atMost(heads == 1 ? 0.18 : 0.22) : nil)
        report.figure(
          "\(label): batch of 8 users, one thread, p50", batches.median * 1e3, "ms",
          must: isCold ? .atMost(0.45) : nil)
      }
      if reconstructs {
        report.measured("\(label): reconstruct into f16, p50", reconstructions.median * 1e6, "us")
        report.figure(
          "\(label): reconstruct into f16 / memcpy", reconstructions.median / copies.median,
          must: isCold ? .atMost(0.7) : nil, aim: isCold ? .atMost(0.6) : nil)
      }
    }
    try rereading.close()
    try engine.close()
  }

  /// The keys' or the values' half of a history's memory.
  private static func half(
    _ memory: UnsafeMutableRawPointer, _ byteCount: Int, _ number: Int
  ) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: memory + number * (byteCount / 2), count: byteCount / 2)
  }
}
