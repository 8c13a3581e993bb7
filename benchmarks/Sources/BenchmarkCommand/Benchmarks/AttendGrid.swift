/// Attention from the store over a grid of shapes, one axis at a time around n = 1,000, m = 1,024, d = 256: how time
/// grows with positions, queries, pool rows and width; interned items, other element types, every attention function.
/// Each beside one copy of that shape's full f16 keys and values, cold and by turns: random users out of a set whose
/// full keys and values are four times the last-level cache.

import CollectiveKV
import Glibc

enum AttendGridBenchmark {
  static func run(_ options: Options) throws {
    let report = Report("attend-grid", options)
    report.parameter("fullSetBytes", .integer(setByteCount(options)))
    report.parameter("top", .integer(top))
    report.parameter("simhashBits", .integer(ModelFile.simhashBits))
    report.parameter("sdim", .string("\(ModelFile.sdim.groups) groups of \(ModelFile.sdim.bits) bits"))
    for shape in shapes(options) {
      try options.withDirectory { directory in
        report.progress(shape.label)
        let store = try ShapeStore(directory, shape, options)
        try store.check(queries(1, shape.width, options.seed))
        try measure(store, report, options)
        try store.close()
      }
    }
    reportGrowth(report, options)
    try report.finish()
  }

  /// Full keys and values of all users of a shape, one user more or less.
  static func setByteCount(_ options: Options) -> Int { options.sized(1 << 20, 4 * Machine.lastLevelCacheByteCount) }

  static let centre = Shape()
  /// What the selecting functions keep.
  private static let top = 100

  /// The values of each axis; more than the ends where a line has a bend.
  static func lengths(_ options: Options) -> [Int] { options.sized([100, 1_000], [100, 1_000, 10_000, 100_000]) }
  static func counts(_ options: Options) -> [Int] { options.sized([1, 16, 128], [1, 16, 128, 1_000]) }
  static func pools(_ options: Options) -> [Int] { options.sized([64, 1_024], [64, 256, 1_024, 4_096, 16_384]) }
  static let widths = [64, 256, 512]
  static let centreCounts = [1, 128]

  private static func shapes(_ options: Options) -> [Shape] {
    var shapes = lengths(options).map { Shape(length: $0) }
    shapes += pools(options).map { Shape(poolRows: $0) }
    shapes += widths.map { Shape(width: $0) }
    shapes += options.sized([1_024], [1_024, 16_384]).map { Shape(poolRows: $0, isInterned: true) }
    shapes += options.sized([], [Shape(length: 10_000, poolRows: 16_384, isInterned: true)])
    shapes += [Shape(hasFloatPools: true), Shape(hasByteUserPart: true)]
    var seen: Set<Shape> = []
    return shapes.filter { seen.insert($0).inserted }
  }

  // MARK: One shape

  /// One thing that is measured again and again.
  private struct Series {
    var name: String
    /// The number of the call and the user's place.
    var run: (Int, Int) throws -> Void
    var samples = Samples()
  }

  private static func measure(_ store: ShapeStore, _ report: Report, _ options: Options) throws {
    var series = [Series(name: "\(store.shape.label): memcpy of full f16 K and V, p50") { store.copyFull($1) }]
    for count in store.shape == centre ? counts(options) : centreCounts {
      series += try softmaxes(store, count, options)
    }
    if store.shape == centre {
      for count in centreCounts {
        for function in functions { series.append(self.series(store, count, function, options)) }
      }
    }
    try measure(&series, users: store.population.count, options)
    for one in series { report.measured(one.name, one.samples.median * 1e6, "us") }
    let copy = series[0].samples.median
    for one in series.dropFirst() {
      report.measured(one.name.replacing(", p50", with: "") + " / memcpy", one.samples.median / copy, "ratio")
    }
  }

  private static func queries(_ count: Int, _ width: Int, _ seed: UInt64) -> [Float] {
    var random = SplitMix(seed: seed ^ 0x7175_6572)
    return (0..<count * width).map { _ in Float(random.normal()) }
  }

  static func name(_ shape: Shape, _ count: Int, _ what: String) -> String {
    "\(shape.label), C = \(count): \(what), p50"
  }

  /// Softmax from plain queries, and with a `CandidateSet` that is made beforehand.
  private static func softmaxes(_ store: ShapeStore, _ count: Int, _ options: Options) throws -> [Series] {
    // One query after another, or the tables of a lone one would be hotter than anybody's.
    let queries = (0..<(count == 1 ? 16 : 1)).map { self.queries(count, store.shape.width, options.seed + UInt64($0)) }
    let sets = try queries.map { try store.store.candidates($0) }
    return [
      Series(name: name(store.shape, count, "ckvdb")) { number, place in
        take(try store.store.attend(queries[number % queries.count], user: .integer(store.population.ids[place])))
      },
      Series(name: name(store.shape, count, "ckvdb with a CandidateSet")) { number, place in
        take(try store.store.attend(sets[number % sets.count], user: .integer(store.population.ids[place])))
      },
    ]
  }

  private static let functions: [(name: String, attention: Attention)] = [
    ("topk", .topk(top: top)), ("select", .select(top: top)), ("simhash", .simhash(top: top)), ("sdim", .sdim()),
    ("sdim-sum", .sdimSum()), ("silu", .silu()),
    ("silu-bias", .siluBias((0..<centre.length).map { Float($0 % 7) * 0.1 })),
  ]

  private static func series(
    _ store: ShapeStore, _ count: Int, _ function: (name: String, attention: Attention), _ options: Options
  ) -> Series {
    let queries = self.queries(count, store.shape.width, options.seed)
    let isSearching = if case .select = function.attention.kind { true } else { false }
    return Series(name: name(store.shape, count, "ckvdb \(function.name)")) { _, place in
      let user = UserID.integer(store.population.ids[place])
      take(try store.store.attend(queries, user: user, function.attention, selectQueries: isSearching ? queries : nil))
    }
  }

  private static func take(_ output: [Float]) { BlackHole.take(UInt64(output[0].bitPattern)) }

  /// By turns of some milliseconds, the users of each drawn anew, until there is time for no more.
  private static func measure(_ series: inout [Series], users: Int, _ options: Options) throws {
    var random = SplitMix(seed: options.seed)
    let end = Clock.now() + options.sized(0.01, 0.25) * Double(series.count)
    var round = 0
    while round < 4 || (Clock.now() < end && round < 200) {
      for place in series.indices {
        let turnEnd = Clock.now() + options.sized(0.0002, 0.005)
        for number in 0..<64 where number == 0 || Clock.now() < turnEnd {
          let user = random.below(users)
          let seconds = try Clock.seconds { try series[place].run(number, user) }
          // The first round warms up.
          if round > 0 { series[place].samples.add(seconds) }
        }
      }
      round += 1
    }
  }
}
