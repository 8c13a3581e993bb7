/// Model files that are safetensors files without a fault, and no models.

import CacheTypes
import CollectiveKV
import PoolStorage

struct ModelAttack {
  typealias Change = (inout [String: TestTensor], inout [String: String]) -> Void
  var name: String
  /// What the refusal names.
  var reason: String
  var change: Change

  init(_ name: String, _ reason: String, _ change: @escaping Change) {
    (self.name, self.reason, self.change) = (name, reason, change)
  }

  /// Writes a model of one layer, with pools of three rows and four items.
  static func model(_ folder: Folder, _ name: String, _ change: Change = { _, _ in }) throws -> String {
    var tensors: [String: TestTensor] = [:]
    func set(_ name: String, _ shape: [Int], _ values: [Float]) { tensors[name] = .floats(name, shape, values) }
    for part in ["key", "value"] {
      set("layers.0.\(part).projection.weight", [1, 2], [1, 0.5])
      set("layers.0.\(part).projection.bias", [1], [0.25])
      set("layers.0.\(part).router.weight", [3, 2], [1, 0, 0, 1, -1, -1])
      set("layers.0.\(part).router.bias", [3], [0, 0, 0])
      set("layers.0.\(part).pool", [3, 3], (0..<9).map { Float($0) / 2 })
    }
    set("items.embedding", [4, 2], [1, 0, 0, 1, 0.5, -0.5, -2, 3])
    var metadata = ["ckvdb.format": "1", "ckvdb.heads": "1", "ckvdb.input": "item"]
    change(&tensors, &metadata)
    return try folder.tensors(name, tensors.values.sorted { $0.plan.name < $1.plan.name }, metadata: metadata)
  }

  /// What making a store of the file is refused with.
  func refusal(_ folder: Folder) throws -> String {
    let path = try Self.model(folder, "attack.safetensors", change)
    do throws(StoreError) {
      try CacheStore.create(at: folder("attack.ckv"), model: path).close()
      return "not refused"
    } catch {
      guard case .invalidModel(path, _) = error else { return "refused as something else: \(error)" }
      return error.description
    }
  }

  static func reshaped(_ name: String, _ shape: [Int], _ value: Float = 0) -> Change {
    { tensors, _ in
      tensors[name] = .floats(name, shape, Array(repeating: value, count: shape.reduce(1, *)))
    }
  }

  static func setting(_ key: String, _ value: String?) -> Change { { $1[key] = value } }
  static func removing(_ name: String) -> Change { { tensors, _ in tensors[name] = nil } }

  static var all: [ModelAttack] {
    [
      .init("no pool", "layers.0.key.pool is missing", removing("layers.0.key.pool")),
      .init("a value without its pool", "layers.0.value.pool is missing", removing("layers.0.value.pool")),
      .init("a pool of no rows", "tensor layers.0.key.pool has shape [0, 3]", reshaped("layers.0.key.pool", [0, 3])),
      .init("a pool of one dimension", "tensor layers.0.key.pool has shape [9]", reshaped("layers.0.key.pool", [9])),
      .init(
        "a router of more rows than the pool", "tensor layers.0.key.router.bias has shape [3], expected [4]",
        reshaped("layers.0.key.router.weight", [4, 2])),
      .init(
        "a router of fewer rows than the pool", "tensor layers.0.value.router.weight has shape [2, 2]",
        { tensors, metadata in
          reshaped("layers.0.value.router.weight", [2, 2])(&tensors, &metadata)
          reshaped("layers.0.value.router.bias", [2])(&tensors, &metadata)
        }),
      .init(
        "a bias of another length", "tensor layers.0.key.router.bias has shape [2]",
        reshaped("layers.0.key.router.bias", [2])),
      .init("no bias", "layers.0.key.projection.bias is missing", removing("layers.0.key.projection.bias")),
      .init(
        "embeddings of two widths", "takes embeddings of width 3",
        reshaped("layers.0.value.projection.weight", [1, 3])),
      .init(
        "items of another width", "items.embedding takes embeddings of width 5", reshaped("items.embedding", [4, 5])),
      .init("items without items", "tensor items.embedding has shape [0, 2]", reshaped("items.embedding", [0, 2])),
      .init("a basis that maps nothing", "layers.0.key.basis has shape", reshaped("layers.0.key.basis", [3, 2])),
      .init(
        "rotations of another width", "layers.0.rotations.simhash", reshaped("layers.0.rotations.simhash", [2, 5])),
      .init(
        "an infinity in a pool", "layers.0.value.pool at index 0", reshaped("layers.0.value.pool", [3, 3], .infinity)),
      .init(
        "a NaN in a router", "layers.0.key.router.bias at index 0", reshaped("layers.0.key.router.bias", [3], .nan)),
      .init("a layer that is not the next", "there is no layer 1", reshaped("layers.2.key.pool", [3, 3])),
      .init("a layer beyond the limit", "layer 4096", reshaped("layers.4096.key.pool", [3, 3])),
      .init(
        "a layer's number that wraps", "is no layer number", reshaped("layers.18446744073709551616.key.pool", [3, 3])),
      .init("heads that do not divide", "3 heads do not divide", setting("ckvdb.heads", "3")),
      .init("no heads", "neither ckvdb.heads nor", setting("ckvdb.heads", nil)),
      .init("no heads at all", "metadata ckvdb.heads is \"0\"", setting("ckvdb.heads", "0")),
      .init("heads beyond 64 bits", "metadata ckvdb.heads is", setting("ckvdb.heads", "18446744073709551617")),
      .init("a scale that is no number", "metadata ckvdb.scale is \"nan\"", setting("ckvdb.scale", "nan")),
      .init("a divisor of nothing", "metadata ckvdb.divisor is \"0\"", setting("ckvdb.divisor", "0")),
      .init("another format", "metadata ckvdb.format is \"2\"", setting("ckvdb.format", "2")),
      .init("a misspelt setting", "\"ckvdb.head\" is unknown", setting("ckvdb.head", "1")),
      .init("items asked for and not brought", "there is no items.embedding", removing("items.embedding")),
      .init(
        "a pool of integers", "tensor \"layers.0.key.pool\" is I32",
        { tensors, _ in
          tensors["layers.0.key.pool"] = .integers(
            "layers.0.key.pool", Array(repeating: 1, count: 9), shape: [3, 3], .i32)
        }),
    ]
  }
}
