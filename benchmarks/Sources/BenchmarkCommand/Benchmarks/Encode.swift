/// Encoding batches of embeddings, beside the same matrix products by OpenBLAS on one thread. Runs in a child process,
/// because OpenBLAS chooses its kernels when it is loaded, from variables that must not be set.

import COpenBLAS
import CollectiveKV

enum EncodeBenchmark {
  static let childName = "encode-child"
  private static let batch = 256

  static func run(_ options: Options) throws {
    let report = Report("encode", options)
    report.parameter("batch", .integer(batch))
    report.parameter("poolRows", .integer(1_024))
    report.parameter("routers", .integer(2))
    for width in [64, 256] {
      let words = [childName, "\(width)", "--data", options.dataPath] + (options.size == .smoke ? ["--smoke"] : [])
      let answers = try ChildProcess.run(words)
      report.parameter("openblasKernel", .string(answers["kernel"] ?? "unknown"))
      let ours = try ChildProcess.number(answers, "ckvdb")
      let products = try ChildProcess.number(answers, "openblas")
      report.measured("d_e = \(width): ckvdb", ours * 1e6, "us per batch")
      report.measured(
        "d_e = \(width): OpenBLAS, products alone, \(answers["kernel"] ?? "?")", products * 1e6, "us per batch")
      report.measured("d_e = \(width): ckvdb", ours / Double(batch) * 1e6, "us per position")
      report.figure("d_e = \(width): ckvdb / OpenBLAS", ours / products, must: .atMost(2))
    }
    report.note("OpenBLAS computes the four products and stops; ckvdb also adds biases and finds the largest scores")
    try report.finish()
  }

  static func runChild(_ options: Options) throws {
    guard let width = options.words.dropFirst().first.flatMap(Int.init) else { throw BenchmarkError("no width") }
    openblas_set_num_threads(1)
    try options.withDirectory { directory in
      let model = ModelFile(embeddingWidth: width)
      try model.write(to: directory + "/model.safetensors", seed: options.seed)
      let store = try CacheStore.create(at: directory + "/store.ckv", model: directory + "/model.safetensors")
      var random = SplitMix(seed: options.seed)
      func draw(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.unit() * 2 - 1) } }
      let embeddings = draw(batch * width)
      let weights = [model.poolRows, model.poolRows, model.userWidth, model.userWidth].map { draw($0 * width) }
      var scores = [Float](repeating: 0, count: batch * model.poolRows)
      var (ours, products) = (Samples(), Samples())
      for round in 0...options.sized(5, 200) {
        let product = Clock.seconds { for weight in weights { multiply(embeddings, weight, width, &scores) } }
        BlackHole.take(UInt64(scores[0].bitPattern))
        let own = try Clock.seconds {
          let entries = try store.encode(embeddings, count: batch)
          BlackHole.take(UInt64(entries.layers[0].keyIndices[0]))
        }
        if round > 0 {
          products.add(product)
          ours.add(own)
        }
      }
      print("kernel \(String(cString: openblas_get_corename()))")
      print("ckvdb \(ours.median)")
      print("openblas \(products.median)")
      try store.close()
    }
  }

  /// scores = embeddings . weight^T
  private static func multiply(_ embeddings: [Float], _ weight: [Float], _ width: Int, _ scores: inout [Float]) {
    let outputs = weight.count / width
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, Int32(batch), Int32(outputs), Int32(width), 1, embeddings, Int32(width),
      weight, Int32(width), 0, &scores, Int32(outputs))
  }
}
