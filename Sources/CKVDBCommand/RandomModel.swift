/// A model file of random weights: one layer of the concatenated form, as commands that bring their own data need it.
/// The same random numbers give the same bytes.

internal import CacheTypes
internal import PoolStorage

struct RandomModel {
  var embeddingWidth: Int
  /// d_u, d_g and m of the key and of the value.
  var userWidth: Int
  var poolWidth: Int
  var poolRows: Int
  var heads: Int
  var poolDType = TensorDType.f32

  /// Numbers made at a time.
  private static let chunkCount = 1 << 16

  /// Writes the model.
  ///
  /// - Parameters:
  ///   - items: `items.embedding`, row-major; `nil`: callers bring embeddings.
  ///   - further: tensors of normal numbers behind the layer's own: name and shape.
  func write(
    to path: String, items: [Float]? = nil, further: [(name: String, shape: [Int])] = [],
    metadata: [String: String] = [:], _ random: inout SplitMix64
  ) throws {
    let scale = 1 / Double(embeddingWidth).squareRoot()
    var tensors: [(plan: TensorPlan, scale: Double)] = []
    for part in ["key", "value"] {
      let own: [(String, [Int], Double)] = [
        ("projection.weight", [userWidth, embeddingWidth], scale), ("projection.bias", [userWidth], 0.1),
        ("router.weight", [poolRows, embeddingWidth], scale), ("router.bias", [poolRows], 0.1),
        ("pool", [poolRows, poolWidth], 1),
      ]
      for (name, shape, scale) in own {
        let dtype = name == "pool" ? poolDType : .f32
        tensors.append((TensorPlan(name: "layers.0.\(part).\(name)", dtype: dtype, shape: shape), scale))
      }
    }
    for (name, shape) in further { tensors.append((TensorPlan(name: name, dtype: .f32, shape: shape), 1)) }
    var plan = tensors.map(\.plan)
    var all = ["ckvdb.format": "1", "ckvdb.heads": String(heads)]
    if let items {
      plan.insert(
        TensorPlan(name: "items.embedding", dtype: .f32, shape: [items.count / embeddingWidth, embeddingWidth]), at: 0)
      all["ckvdb.input"] = "item"
    }
    all.merge(metadata) { _, given in given }
    var writer = try SafetensorsWriter(path: path, tensors: plan, metadata: all)
    if let items { try writer.append(items) }
    for (plan, scale) in tensors {
      var rest = plan.shape.reduce(1, *)
      while rest > 0 {
        try Interruption.check()
        let count = min(rest, Self.chunkCount)
        try writer.append(random.normals(count, scale: scale))
        rest -= count
      }
    }
    try writer.finish()
  }
}
