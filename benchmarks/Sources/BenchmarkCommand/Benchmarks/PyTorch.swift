/// PyTorch on one thread, beside ckvdb on the same shapes: scaled_dot_product_attention on full keys and values in
/// memory, and on keys and values gathered from pool and user part. A child process times it, right before ckvdb's own
/// rounds; both take random users out of a set of the same size. PyTorch's f16 and f32 are both held to the bounds: f16
/// is what ckvdb stores, f32 is what PyTorch computes faster.

import CollectiveKV

enum PyTorch {
  private static let poolRows = [64, 1_024]
  private static let script: String = {
    let path = "\(#filePath)".split(separator: "/", omittingEmptySubsequences: false)
    return (path.dropLast(4) + ["pytorch", "attend.py"]).joined(separator: "/")
  }()

  private static func queryCounts(_ options: Options) -> [Int] { options.sized([1, 16], [1, 16, 128, 1_000]) }

  /// The Python that is named, or `python3` if it has PyTorch; `nil`: none. The smoke size uses none unless it is
  /// named.
  static func find(_ options: Options) throws -> String? {
    if let path = options.pythonPath { return path }
    guard options.size != .smoke, options.usesPython else { return nil }
    return (try? ChildProcess.answers(of: ["python3", "-c", "import torch"])) == nil ? nil : "python3"
  }

  static func measure(
    _ python: String, _ stores: AttendPeersBenchmark.Stores, _ what: AttendPeersBenchmark.Case, _ directory: String,
    _ setByteCount: Int, _ report: Report
  ) throws {
    let counts = queryCounts(what.options)
    let answers = try ChildProcess.answers(
      of: [
        python, script, "--lines", "--lengths", "\(what.length)", "--set-bytes", "\(setByteCount)", "--queries",
        counts.map(String.init).joined(separator: ","), "--seconds", what.options.size == .smoke ? "0.01" : "0.15",
      ])
    report.parameter("pytorch", .string(answers["version"] ?? "unknown"))
    for poolRows in poolRows {
      for heads in AttendPeersBenchmark.Stores.heads {
        let engine =
          try poolRows == 1_024
          ? stores.ours[heads]!
          : AttendPeersBenchmark.Stores.engine(directory, what, heads: heads, poolRows: poolRows)
        for count in counts {
          let (ours, ofSet) = try measure(engine.store, what, count)
          let shape = "\(heads).\(what.length).\(count)"
          let label = "H = \(heads), m = \(poolRows), n = \(what.length), C = \(count)"
          report.measured("\(label): ckvdb, p50", ours * 1e6, "us")
          report.measured("\(label): ckvdb with a CandidateSet, p50", ofSet * 1e6, "us")
          for type in ["f16", "f32"] {
            let full = try ChildProcess.number(answers, "full.\(type).\(shape)")
            let gathered = try ChildProcess.number(answers, "gather.\(type).\(poolRows).\(shape)")
            judge(label, "PyTorch on full K and V, \(type)", full, ours, fullBounds[label], report)
            judge(label, "PyTorch, gathered, \(type)", gathered, ours, gatheredBounds[label], report)
            report.figure(
              "\(label): PyTorch on full K and V, \(type) / ckvdb with a CandidateSet", full / ofSet,
              must: setBounds[label].map(Bound.atLeast))
          }
        }
        if poolRows != 1_024 { try engine.close() }
      }
    }
  }

  /// The bounds of the shapes that have one.
  private static let fullBounds: [String: (must: Double, aim: Double)] = [
    "H = 1, m = 1024, n = 1000, C = 128": (1.3, 2), "H = 1, m = 1024, n = 10000, C = 128": (5, 8),
    "H = 1, m = 64, n = 1000, C = 128": (4, 6),
  ]
  /// The same with a CandidateSet.
  private static let setBounds = ["H = 1, m = 1024, n = 1000, C = 128": 2.0]
  private static let gatheredBounds: [String: (must: Double, aim: Double)] = [
    "H = 1, m = 1024, n = 1000, C = 1": (15, 25), "H = 4, m = 1024, n = 1000, C = 1": (15, 25),
  ]

  private static func judge(
    _ label: String, _ name: String, _ theirs: Double, _ ours: Double, _ bounds: (must: Double, aim: Double)?,
    _ report: Report
  ) {
    report.measured("\(label): \(name), p50", theirs * 1e6, "us")
    report.figure(
      "\(label): \(name) / ckvdb", theirs / ours, must: (bounds?.must).map(Bound.atLeast),
      aim: (bounds?.aim).map(Bound.atLeast))
  }

  /// Random users, until there are enough of them or time is up; with a CandidateSet and without by turns.
  ///
  /// - Returns: the medians without and with the set, whose making does not count.
  private static func measure(
    _ store: CacheStore, _ what: AttendPeersBenchmark.Case, _ count: Int
  ) throws -> (Double, Double) {
    let queries = AttendPeersBenchmark.queries(count, seed: what.options.seed).flatMap { $0 }
    let set = try store.candidates(queries)
    var random = SplitMix(seed: what.options.seed)
    var (samples, ofSet) = (Samples(), Samples())
    let end = Clock.now() + what.options.sized(0.02, 0.3)
    for round in 0..<4_000 where round < 16 || Clock.now() < end {
      let user = UserID.integer(what.population.ids[random.below(what.population.count)])
      // Four calls each by turns; users are drawn for every one, since the second read of a user would not be cold.
      let usesSet = (round / 4).isMultiple(of: 2)
      let seconds = try Clock.seconds {
        let output = try usesSet ? store.attend(set, user: user) : store.attend(queries, user: user)
        BlackHole.take(UInt64(output[0].bitPattern))
      }
      guard round > 7 else { continue }
      if usesSet { ofSet.add(seconds) } else { samples.add(seconds) }
    }
    return (samples.median, ofSet.median)
  }
}
