import CKernels
import CacheTypes
import KVRuntime
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// The cost model against the clock. The least time of each way is kept over all attempts, and attempts go on while the
/// claim does not hold: a busy machine delays the answer, a wrong model never gets one.
@Suite(.serialized) struct `Costs of ways through attention` {
  struct Shape: CustomTestStringConvertible {
    var positions: Int
    var poolRows: Int
    var width: Int
    var heads: Int
    var queries: Int

    var testDescription: String { "n \(positions), m \(poolRows), d \(width), H \(heads), C \(queries)" }

    init(_ positions: Int, _ poolRows: Int, _ width: Int, _ heads: Int, _ queries: Int) {
      (self.positions, self.poolRows, self.width) = (positions, poolRows, width)
      (self.heads, self.queries) = (heads, queries)
    }
  }

  /// A layer, some histories, and the least time of each way so far.
  final class Race {
    private let shape: Shape
    private let layer: RandomLayer
    private let histories: [LayerEntries]
    private let queries: AttentionQueries
    private(set) var least: [Double]
    private let ways: [ForcedPaths]

    init(_ shape: Shape, _ ways: [ForcedPaths]) {
      self.shape = shape
      self.ways = ways
      var draw = Draw(shape.positions)
      var plan = LayerPlan(isAdditive: false, heads: shape.heads, poolElement: .f16, poolRows: shape.poolRows)
      plan.userWidths = (2, 2)
      layer = RandomLayer(&draw, ofWidth: shape.width, plan)
      let layer = layer
      histories = (0..<4).map { _ in layer.entries(&draw, count: shape.positions) }
      queries = AttentionQueries(values: draw.numbers(shape.queries * shape.width), count: shape.queries)
      least = [Double](repeating: .infinity, count: ways.count)
    }

    /// Runs until `holds`; at most some seconds.
    func run(until holds: ([Double]) -> Bool) throws -> Bool {
      for round in 1...400 {
        for (place, way) in ways.enumerated() {
          var (start, end) = (timespec(), timespec())
          clock_gettime(CLOCK_MONOTONIC, &start)
          for history in histories {
            _ = try AttentionFunction.softmax.attend(
              queries, history, count: shape.positions, shape: layer.shape, tensors: layer.tensors, forcing: way)
          }
          clock_gettime(CLOCK_MONOTONIC, &end)
          let time = Double(end.tv_sec - start.tv_sec) * 1e9 + Double(end.tv_nsec - start.tv_nsec)
          least[place] = min(least[place], time / Double(histories.count))
        }
        if round >= 5 && holds(least) { return true }
      }
      return false
    }
  }

  /// Debug builds leave C as it is written, and serial code takes a hundred times as long: neither is measured here.
  static var canMeasure: Bool {
    #if DEBUG
      false
    #else
      Level.all.count > 1 && getenv("CKVDB_ISA") == nil
    #endif
  }

  static let shapes = [
    Shape(30, 16_384, 256, 1, 1), Shape(1_000, 64, 256, 1, 1), Shape(1_000, 1_024, 256, 1, 1),
    Shape(400, 16_384, 64, 4, 1), Shape(2_500, 1_024, 64, 4, 1), Shape(8_000, 1_024, 256, 1, 1),
    Shape(1_000, 64, 64, 1, 2), Shape(1_000, 1_024, 256, 4, 2), Shape(300, 1_024, 256, 1, 16),
    Shape(1_000, 1_024, 256, 1, 16), Shape(1_000, 1_024, 256, 4, 16), Shape(500, 16_384, 64, 1, 16),
  ]

  @Test(.enabled(if: canMeasure), arguments: shapes)
  func `the way that is chosen takes at most 1.35 times as long as the best`(_ shape: Shape) throws {
    var ways = [ForcedPaths()]
    for sums in SumPath.allCases {
      for scores in ScorePath.allCases where scores != .allRows || shape.poolRows < 50 * shape.positions {
        for isSideBySide in shape.queries > 1 ? [false, true] : [false] {
          ways.append(ForcedPaths(scores: scores, sums: sums, isSideBySide: isSideBySide))
        }
      }
    }
    let race = Race(shape, ways)
    let isNear = try race.run { $0[0] <= 1.35 * $0.dropFirst().min()! }
    #expect(isNear, "chosen \(race.least[0]), ways \(race.least.dropFirst())")
  }

  /// Ways of which the first is for short ranges, and whether the model takes the second.
  struct Crossover: CustomTestStringConvertible {
    var testDescription: String
    var shape: Shape
    var first: ForcedPaths
    var second: ForcedPaths
    var takesSecond: @Sendable (AttentionPaths, Int) -> Bool
  }

  static let crossovers = [
    Crossover(
      testDescription: "sums", shape: Shape(0, 1_024, 256, 1, 1), first: ForcedPaths(sums: .gather),
      second: ForcedPaths(sums: .rowSums), takesSecond: { $0.sums($1, byHead: false) == .rowSums }),
    Crossover(
      testDescription: "sums of four heads", shape: Shape(0, 1_024, 256, 4, 1), first: ForcedPaths(sums: .gather),
      second: ForcedPaths(sums: .rowSums), takesSecond: { $0.sums($1, byHead: false) == .rowSums }),
    Crossover(
      testDescription: "scores", shape: Shape(0, 1_024, 256, 1, 1), first: ForcedPaths(scores: .gather),
      second: ForcedPaths(scores: .rowsInUse), takesSecond: { $0.scores($1, byHead: false) != .gather }),
    Crossover(
      testDescription: "all rows", shape: Shape(0, 1_024, 64, 1, 1), first: ForcedPaths(scores: .rowsInUse),
      second: ForcedPaths(scores: .allRows), takesSecond: { $0.scores($1, byHead: false) == .allRows }),
  ]

  @Test(.enabled(if: canMeasure), arguments: crossovers)
  func `the clock is on the model's side well before and well behind a crossover`(_ crossover: Crossover) throws {
    var shape = crossover.shape
    let part = PartShape(
      userWidth: 2, poolWidth: shape.width - 2, poolRows: shape.poolRows, isAdditive: false, hasRouter: true)
    let costs: AttentionCosts = Level.all.count > 2 ? .avx512 : .avx2
    let paths = AttentionPaths(
      LayerShape(key: part, value: part, heads: shape.heads), (.f16, .f16), ForcedPaths(), costs: costs)
    let place = (1...8 * shape.poolRows).first { crossover.takesSecond(paths, $0) }
    let length = try #require(place, "the model never takes the second way")
    for (positions, better) in [(length / 4, 0), (min(length * 4, 4 * shape.poolRows), 1)] {
      #expect(crossover.takesSecond(paths, positions) == (better == 1))
      shape.positions = positions
      let race = Race(shape, [crossover.first, crossover.second])
      let isRight = try race.run { $0[better] < $0[1 - better] }
      #expect(isRight, "crossover at \(length); at \(positions): \(race.least)")
    }
  }

  @Test(arguments: [1, 2, 4, 6]) func `a plan chooses for every length what costs say`(heads: Int) {
    // In a pool of one row ways cost the same but for rounding: which of them is taken is of no interest.
    for (poolRows, width, userWidth) in [(16, 12, 0), (64, 60, 2), (1_024, 240, 2), (16_384, 48, 6), (40, 24, 24)] {
      let part = PartShape(
        userWidth: userWidth, poolWidth: width - userWidth, poolRows: poolRows, isAdditive: false, hasRouter: true)
      let shape = LayerShape(key: part, value: part, heads: heads)
      for costs in [AttentionCosts.avx512, .avx2, .serial] {
        let paths = AttentionPaths(shape, (.f32, .f32), ForcedPaths(), costs: costs)
        let plan = AttentionPlan(paths, shape, isForced: false)
        for byHead in [false, true] {
          let wrong = (Array(1...3_000) + stride(from: 3_001, through: 400_000, by: 997)).first {
            plan.scores($0, byHead: byHead) != paths.scores($0, byHead: byHead)
              || plan.sums($0, byHead: byHead) != paths.sums($0, byHead: byHead)
          }
          #expect(wrong == nil, "m \(poolRows), d \(width), by head \(byHead)")
        }
      }
    }
  }

  @Test func `what is added up in which order hangs on the range and the model alone`() {
    for heads in [1, 4] {
      let part = PartShape(userWidth: 2, poolWidth: 254, poolRows: 1_024, isAdditive: false, hasRouter: true)
      let shape = LayerShape(key: part, value: part, heads: heads)
      defer { _ = ckv_kernels_force(-1) }
      var seen: Set<[SumPath]> = []
      for level in Level.all {
        #expect(ckv_kernels_force(level.number))
        let paths = AttentionPaths(shape, (.f16, .f16), ForcedPaths())
        seen.insert((1...5_000).map { paths.sums($0, byHead: false) })
      }
      #expect(seen.count == 1)
      // Short ranges one way, long ranges the other, and no third part.
      let choices = seen.first!
      #expect(choices.first == .gather && choices.last == .rowSums)
      #expect(zip(choices, choices.dropFirst()).filter { $0 != $1 }.count == 1)
    }
  }
}

extension RandomLayer {
  /// A layer of a given width.
  fileprivate init(_ draw: inout Draw, ofWidth width: Int, _ plan: LayerPlan) {
    self.init(&draw, plan)
    let part = PartShape(
      userWidth: 2, poolWidth: width - 2, poolRows: plan.poolRows!, isAdditive: false, hasRouter: true)
    shape = LayerShape(key: part, value: part, heads: plan.heads!)
    // The same few thousand numbers over and over: what they are is no matter for how long they take.
    let numbers = draw.numbers(4_099)
    let bits = numbers.map { HalfPrecision.f16Bits($0) }
    tensors = LayerTensors(key: Self.part(part, bits), value: Self.part(part, bits))
  }

  private static func part(_ part: PartShape, _ bits: [UInt16]) -> PartTensors {
    let count = part.poolRows * part.poolWidth
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count * 2, alignment: 64)
    bits.withUnsafeBytes { source in
      for start in stride(from: 0, to: bytes.count, by: source.count) {
        let length = min(source.count, bytes.count - start)
        UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + length]).copyMemory(
          from: UnsafeRawBufferPointer(rebasing: source[..<length]))
      }
    }
    let memory = TensorMemory(UnsafeRawBufferPointer(bytes)) { start, _ in
      UnsafeMutableRawPointer(mutating: start)?.deallocate()
    }
    return PartTensors(
      projectionWeight: nil, projectionBias: nil, routerWeight: nil, routerBias: nil,
      pool: Tensor(memory: memory, byteOffset: 0, element: .f16, shape: [part.poolRows, part.poolWidth]), basis: nil)
  }
}
