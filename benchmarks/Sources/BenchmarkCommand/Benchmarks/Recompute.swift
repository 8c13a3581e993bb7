/// What keeps no keys and values but embeddings (d_e = 64, f16, in memory): computing keys and values again for every
/// request, by OpenBLAS, and attending over them with the peers' kernel. Tile by tile, so that keys and values stay in
/// cache. Beside it the shortcut for a plain linear projection, which takes the query to the embeddings instead. In a
/// child process, because OpenBLAS chooses its kernels when it is loaded, from variables that must not be set.

import CFullAttend
import COpenBLAS
import Glibc

enum RecomputeBenchmark {
  static let childName = "recompute-child"
  static let name = "K and V computed again"
  static let foldedName = "query taken to the embeddings"
  private static let embeddingWidth = 64
  private static let tile = 256

  /// Runs the child and takes its figures over.
  static func report(to report: Report, _ options: Options) throws {
    let answers = try ChildProcess.run(
      [childName, "--data", options.dataPath] + (options.size == .smoke ? ["--smoke"] : []))
    report.parameter("openblasKernel", .string(answers["kernel"] ?? "unknown"))
    for heads in [1, 4] {
      for length in lengths(options) {
        for isCold in [true, false] {
          let label = AttendPeersBenchmark.label(heads, length, isCold)
          for (key, name) in [("again", name), ("folded", foldedName)] {
            let seconds = try ChildProcess.number(answers, "\(key).\(heads).\(length).\(isCold)")
            report.measured("\(label): \(name), p50", seconds * 1e6, "us")
          }
        }
      }
    }
    report.note("\(foldedName): only where K and V are linear in the embedding; 128 bytes a position are kept")
  }

  private static func lengths(_ options: Options) -> [Int] {
    options.sized([100, 1_000], [100, 1_000, 10_000, 100_000])
  }

  static func runChild(_ options: Options) throws {
    openblas_set_num_threads(1)
    print("kernel \(String(cString: openblas_get_corename()))")
    let full = AttendPeersBenchmark.setByteCount(options)
    for length in lengths(options) {
      let users = full / FullRows.byteCount(positions: length) + 1
      let userByteCount = length * embeddingWidth * 2
      let embeddings = UnsafeMutableRawPointer.allocate(byteCount: users * userByteCount, alignment: 4_096)
      defer { embeddings.deallocate() }
      var random = SplitMix(seed: options.seed)
      for place in 0..<users * userByteCount / 8 {
        embeddings.storeBytes(
          of: random.next() & 0x8FFF_8FFF_8FFF_8FFF | 0x3000_3000_3000_3000, toByteOffset: place * 8, as: UInt64.self)
      }
      for heads in [1, 4] {
        let query = AttendPeersBenchmark.queries(1, seed: options.seed)[0]
        let work = Work(length, heads, seed: options.seed)
        try work.check(embeddings, query)
        for isCold in [true, false] {
          var samples = [Samples(), Samples()]
          for round in 0...options.sized(3, max(5, 200_000 / length)) {
            let user = isCold ? random.below(users) : 0
            let other = isCold ? random.below(users) : 0
            let again = Clock.seconds { work.computeAgain(embeddings + user * userByteCount, query) }
            let folded = Clock.seconds { work.fold(embeddings + other * userByteCount, query) }
            if round > 0 { samples[0].add(again); samples[1].add(folded) }
          }
          print("again.\(heads).\(length).\(isCold) \(samples[0].median)")
          print("folded.\(heads).\(length).\(isCold) \(samples[1].median)")
        }
      }
    }
  }

  /// Projections and scratch memory of one shape.
  private final class Work {
    let count: Int
    let heads: Int
    let scale: Float
    /// `256 x 64`.
    let weights: (keys: [Float], values: [Float])
    var scores: [Float]
    var floats = [Float](repeating: 0, count: tile * embeddingWidth)
    var rows = [Float](repeating: 0, count: tile * FullRows.width)
    var output = [Float](repeating: 0, count: FullRows.width)

    init(_ count: Int, _ heads: Int, seed: UInt64) {
      (self.count, self.heads) = (count, heads)
      scale = Float(1 / sqrt(Double(FullRows.width / heads)))
      var random = SplitMix(seed: seed)
      func draw() -> [Float] {
        (0..<FullRows.width * embeddingWidth).map { _ in Float(random.unit() * 2 - 1) * 0.1 }
      }
      weights = (draw(), draw())
      scores = Array(repeating: 0, count: heads * count)
    }

    /// The two ways come to the same output.
    func check(_ embeddings: UnsafeRawPointer, _ query: [Float]) throws {
      computeAgain(embeddings, query)
      let again = output
      fold(embeddings, query)
      let difference = zip(again, output).map { abs($0 - $1) }.max() ?? 0
      guard difference <= 1e-4 * (again.map(abs).max() ?? 0) else {
        throw BenchmarkError("keys and values computed again: off by \(difference)")
      }
    }

    func computeAgain(_ embeddings: UnsafeRawPointer, _ query: [Float]) {
      let width = FullRows.width
      clear()
      forTiles { start, rowCount in
        project(embeddings, weights.keys, start, rowCount)
        scores.withUnsafeMutableBufferPointer {
          full_scores(FULL_F32, rows, rowCount, width, heads, query, scale, $0.baseAddress! + start, count)
        }
      }
      let sums = exponentials()
      forTiles { start, rowCount in
        project(embeddings, weights.values, start, rowCount)
        scores.withUnsafeBufferPointer {
          full_accumulate(FULL_F32, rows, rowCount, width, heads, $0.baseAddress! + start, count, &output)
        }
      }
      for column in 0..<width { output[column] /= sums[column / (width / heads)] }
      BlackHole.take(UInt64(output[0].bitPattern))
    }

    /// q . (W s) = (W^T q) . s, and the sum of a (W s) = W (sum of a s): per head, over the embeddings themselves.
    func fold(_ embeddings: UnsafeRawPointer, _ query: [Float]) {
      let (width, part) = (embeddingWidth, FullRows.width / heads)
      clear()
      var folded = [Float](repeating: 0, count: width)
      var sum = [Float](repeating: 0, count: width)
      for head in 0..<heads {
        let first = head * part
        weights.keys.withUnsafeBufferPointer { weight in
          cblas_sgemv(
            CblasRowMajor, CblasTrans, Int32(part), Int32(width), 1, weight.baseAddress! + first * width, Int32(width),
            Array(query[first..<first + part]), 1, 0, &folded, 1)
        }
        sum.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
        full_scores(FULL_F16, embeddings, count, width, 1, folded, scale, &scores, count)
        let total = full_exponentials(&scores, count)
        full_accumulate(FULL_F16, embeddings, count, width, 1, scores, count, &sum)
        weights.values.withUnsafeBufferPointer { weight in
          output.withUnsafeMutableBufferPointer {
            cblas_sgemv(
              CblasRowMajor, CblasNoTrans, Int32(part), Int32(width), 1 / total, weight.baseAddress! + first * width,
              Int32(width), sum, 1, 0, $0.baseAddress! + first, 1)
          }
        }
      }
      BlackHole.take(UInt64(output[0].bitPattern))
    }

    private func clear() { output.withUnsafeMutableBufferPointer { $0.update(repeating: 0) } }

    private func exponentials() -> [Float] {
      scores.withUnsafeMutableBufferPointer { scores in
        (0..<heads).map { full_exponentials(scores.baseAddress! + $0 * count, count) }
      }
    }

    private func forTiles(_ body: (_ start: Int, _ rowCount: Int) -> Void) {
      for start in stride(from: 0, to: count, by: tile) { body(start, min(tile, count - start)) }
    }

    /// rows = embeddings . weight^T, for one tile.
    private func project(_ embeddings: UnsafeRawPointer, _ weight: [Float], _ start: Int, _ rowCount: Int) {
      let width = Int32(embeddingWidth)
      full_widen(embeddings + start * embeddingWidth * 2, rowCount * embeddingWidth, &floats)
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rowCount), Int32(FullRows.width), width, 1, floats, width,
        weight, width, 0, &rows, Int32(FullRows.width))
    }
  }
}
