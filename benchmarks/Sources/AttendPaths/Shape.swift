/// One shape of layer and history, and how long each way through it takes. Several histories take turns, so that no
/// pool row is where it is because the same query has just read it.

import CacheTypes
import KVRuntime

struct Shape {
  var positions: Int
  var poolRows: Int
  var width: Int
  var heads: Int

  /// - Parameter isSlow: serial code, a hundred times slower, gets short histories and few widths.
  static func grid(_ isSmoke: Bool, isSlow: Bool) -> [Shape] {
    var shapes: [Shape] = []
    for heads in [1, 4] {
      for width in isSmoke ? [64] : isSlow ? [64, 256] : [64, 256, 512] {
        for poolRows in isSmoke ? [64, 1_024] : [64, 1_024, 16_384] {
          for positions in isSmoke
            ? [10, 300] : isSlow ? [10, 100, 400, 1_000] : [10, 30, 100, 200, 400, 1_000, 2_500, 6_000, 20_000]
          {
            shapes.append(Shape(positions: positions, poolRows: poolRows, width: width, heads: heads))
          }
        }
      }
    }
    return shapes
  }

  func measure(_ isSmoke: Bool, isSlow: Bool) -> [Sample] {
    var random = SplitMix(state: UInt64(positions * 31 + poolRows * 7 + width + heads))
    let layer = layer(&random)
    let histories = (0..<(positions < 2_000 && !isSlow ? 8 : 3)).map { _ in entries(&random) }
    let values = (0..<16 * width).map { _ in random.number() }
    return [1, 2, 4, 8, 16].map { count in
      let queries = AttentionQueries(values: Array(values.prefix(count * width)), count: count)
      let ways = Way.all(queries: count, positions: positions, poolRows: poolRows)
      let times = time(ways, leastRounds: isSmoke || isSlow ? 2 : 6, mostRounds: isSmoke ? 2 : 400) { way, history in
        let output = try! AttentionFunction.softmax.attend(
          queries, histories[history % histories.count], count: positions, shape: layer.shape, tensors: layer.tensors,
          forcing: way.forced)
        BlackHole.take(UInt64(output[0].bitPattern))
      } histories: {
        histories.count
      }
      return Sample(shape: self, queries: count, layer: layer.shape, times: zip(ways, times).map { ($0, $1) })
    }
  }

  /// The least of some rounds, ways taking turns: nanoseconds of one call.
  private func time(
    _ ways: [Way], leastRounds: Int, mostRounds: Int, _ attend: (Way, Int) -> Void, histories: () -> Int
  ) -> [Double] {
    let count = histories()
    var best = [Double](repeating: .infinity, count: ways.count)
    let start = Clock.now()
    for round in 1...mostRounds {
      for (place, way) in ways.enumerated() {
        let seconds = Clock.seconds { for history in 0..<count { attend(way, history) } }
        best[place] = min(best[place], seconds / Double(count) * 1e9)
      }
      if round >= leastRounds, Clock.now() - start > 0.02 * Double(ways.count).squareRoot() { break }
    }
    return best
  }

  func layer(_ random: inout SplitMix) -> (shape: LayerShape, tensors: LayerTensors) {
    // Two widths of user parts, so that what they take can be told from the rest.
    let userWidth = width > 256 ? 8 : 2
    let part = PartShape(
      userWidth: userWidth, poolWidth: width - userWidth, poolRows: poolRows, isAdditive: false, hasRouter: true)
    let count = part.poolRows * part.poolWidth
    let tensors = (0..<2).map { _ in
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count * 2, alignment: 64)
      let numbers = (0..<4_099).map { _ in HalfPrecision.f16Bits(random.number()) }
      for place in 0..<count { bytes.storeBytes(of: numbers[place % 4_099], toByteOffset: place * 2, as: UInt16.self) }
      let memory = TensorMemory(UnsafeRawBufferPointer(bytes)) { start, _ in
        UnsafeMutableRawPointer(mutating: start)?.deallocate()
      }
      return PartTensors(
        projectionWeight: nil, projectionBias: nil, routerWeight: nil, routerBias: nil,
        pool: Tensor(memory: memory, byteOffset: 0, element: .f16, shape: [part.poolRows, part.poolWidth]), basis: nil)
    }
    return (
      LayerShape(key: part, value: part, heads: heads), LayerTensors(key: tensors[0], value: tensors[1])
    )
  }

  func entries(_ random: inout SplitMix) -> LayerEntries {
    func rows() -> [UInt32] { (0..<positions).map { _ in UInt32(random.next() % UInt64(poolRows)) } }
    func numbers() -> [Float] { (0..<(width > 256 ? 8 : 2) * positions).map { _ in random.number() } }
    return LayerEntries(keyIndices: rows(), valueIndices: rows(), keyUser: numbers(), valueUser: numbers())
  }
}

/// One combination of ways.
struct Way {
  var name: String
  var forced: ForcedPaths

  /// - Parameter positions: beyond four times the pool no row per position is read.
  static func all(queries: Int, positions: Int, poolRows: Int) -> [Way] {
    let canGather = positions <= 4 * poolRows
    var ways: [Way] = []
    for sums in SumPath.allCases where canGather || sums == .rowSums {
      for scores in ScorePath.allCases where canGather || scores != .gather {
        let isMuch = scores == .allRows && poolRows > 50 * positions
        if isMuch { continue }
        if queries == 1 || (scores == .rowsInUse && sums == .rowSums) || (scores == .gather && sums == .gather) {
          ways.append(
            Way(
              name: "\(scores)+\(sums)", forced: ForcedPaths(scores: scores, sums: sums, isSideBySide: false)))
        }
        if queries > 1, scores != .allRows {
          ways.append(
            Way(
              name: "block \(scores)+\(sums)", forced: ForcedPaths(scores: scores, sums: sums, isSideBySide: true)))
        }
      }
    }
    return ways
  }
}

struct Sample {
  let shape: Shape
  let queries: Int
  let layer: LayerShape
  let times: [(way: Way, time: Double)]

  private var paths: AttentionPaths { AttentionPaths(layer, (.f16, .f16), ForcedPaths()) }

  /// The way that is taken when nothing is forced; of the ways that were timed the one nearest to it.
  private var chosen: (way: Way, time: Double) {
    let paths = paths
    let isSideBySide = queries > 1 && paths.isSideBySide(queries, shape.positions, byHead: false)
    let sums = paths.sums(shape.positions, byHead: false)
    let scores: ScorePath =
      isSideBySide
      ? (paths.blockListsKeys(shape.positions) ? .rowsInUse : .gather) : paths.scores(shape.positions, byHead: false)
    let candidates = times.filter { $0.way.forced.isSideBySide == isSideBySide }
    return candidates.first { $0.way.forced.scores == scores && $0.way.forced.sums == sums }
      ?? candidates.first { $0.way.forced.sums == sums } ?? candidates[0]
  }

  private var best: (way: Way, time: Double) { times.min { $0.time < $1.time }! }

  var regret: Double { chosen.time / best.time }

  var line: String {
    let numbers = [(shape.positions, 6), (shape.poolRows, 7), (shape.width, 5), (shape.heads, 3), (queries, 4)].map {
      String(repeating: " ", count: max(0, $1 - "\($0)".count)) + "\($0)"
    }
    let chosen = chosen.way.name
    let ways = times.sorted { $0.time < $1.time }.map {
      "\($0.way.name)\($0.way.name == chosen ? "*" : "") \(Int($0.time))"
    }
    return numbers.joined() + "   " + ways.joined(separator: ", ")
  }

  var json: JSON {
    // Every way of one query and of full blocks; between them the outcome is enough.
    let ways = queries == 1 || queries == 16 ? times : []
    return .object([
      ("n", .integer(shape.positions)), ("m", .integer(shape.poolRows)), ("d", .integer(shape.width)),
      ("heads", .integer(shape.heads)), ("queries", .integer(queries)), ("chosen", .string(chosen.way.name)),
      ("best", .string(best.way.name)), ("chosenOverBest", .number(regret)),
      ("ways", .object(ways.map { ($0.way.name, .integer(Int($0.time))) })),
    ])
  }
}

/// The same numbers for the same seed, everywhere.
struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Between -1 and 1.
  mutating func number() -> Float { Float(Int64(next() >> 40)) / 8_388_608 - 1 }
}
