/// What the tests of this module share: a directory that goes away, files made byte by byte, and small models.

import CacheTypes
import Foundation
import PoolStorage

/// A directory of its own, removed with everything in it.
final class TemporaryDirectory {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "ckvdb-pool-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { path + "/" + name }

  func write(_ bytes: [UInt8], to name: String) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }

  func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: file(name)))) }

  var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }
}

/// A safetensors file with any header, right or wrong.
func rawFile(_ header: [UInt8], data: [UInt8] = [], statedLength: UInt64? = nil) -> [UInt8] {
  let length = statedLength ?? UInt64(header.count)
  return (0..<8).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + header + data
}

func rawFile(_ header: String, dataByteCount: Int = 0, statedLength: UInt64? = nil) -> [UInt8] {
  rawFile(Array(header.utf8), data: Array(repeating: 0, count: dataByteCount), statedLength: statedLength)
}

/// A model file that a test bends.
struct ModelFile {
  struct Entry {
    var dtype: TensorDType
    var shape: [Int]
    var floats: [Float]
  }

  var tensors: [String: Entry] = [:]
  var metadata: [String: String] = ["ckvdb.format": "1", "ckvdb.heads": "2"]

  /// Numbers that every element type holds exactly.
  static func numbers(_ count: Int, seed: Int) -> [Float] {
    (0..<count).map { Float(($0 * 7 + seed * 13) % 31 - 15) / 8 }
  }

  mutating func set(_ name: String, _ shape: [Int], _ dtype: TensorDType = .f32) {
    let seed = name.utf8.reduce(0) { ($0 * 31 + Int($1)) % 9973 }
    tensors[name] = Entry(dtype: dtype, shape: shape, floats: Self.numbers(shape.reduce(1, *), seed: seed))
  }

  mutating func remove(_ prefix: String) { tensors = tensors.filter { !$0.key.hasPrefix(prefix) } }

  mutating func setPart(
    _ name: String, d_e: Int, d_u: Int, d_g: Int, m: Int, router: Bool = true, additive: Bool = false,
    dtype: TensorDType = .f32
  ) {
    set(name + ".pool", [m, d_g], dtype)
    if d_u > 0 {
      set(name + ".projection.weight", [d_u, d_e], dtype)
      set(name + ".projection.bias", [d_u], dtype)
    }
    if router {
      set(name + ".router.weight", [m, d_e], dtype)
      set(name + ".router.bias", [m], dtype)
    }
    if additive { set(name + ".basis", [d_g, d_u], dtype) }
  }

  /// Two layers: concatenated with different key and value shapes, and additive with a shared router.
  static func small(dtype: TensorDType = .f32) -> ModelFile {
    var model = ModelFile()
    model.setPart("layers.0.key", d_e: 5, d_u: 3, d_g: 7, m: 9, dtype: dtype)
    model.setPart("layers.0.value", d_e: 5, d_u: 1, d_g: 5, m: 4, dtype: dtype)
    model.setPart("layers.1.key", d_e: 5, d_u: 2, d_g: 6, m: 3, additive: true, dtype: dtype)
    model.setPart("layers.1.value", d_e: 5, d_u: 0, d_g: 4, m: 3, router: false, dtype: dtype)
    model.set("layers.0.rotations.simhash", [4, 10], dtype)
    model.set("layers.1.rotations.sdim", [2, 3, 6], dtype)
    model.set("items.embedding", [11, 5], dtype)
    return model
  }

  /// Writes the file; `order` decides the order of the tensors in it.
  func write(to path: String, order: ([String]) -> [String] = { $0 }) throws {
    let names = order(tensors.keys.sorted())
    let plans = names.map { TensorPlan(name: $0, dtype: tensors[$0]!.dtype, shape: tensors[$0]!.shape) }
    var writer = try SafetensorsWriter(path: path, tensors: plans, metadata: metadata)
    for name in names {
      let entry = tensors[name]!
      if entry.dtype.element != nil {
        try writer.append(entry.floats)
      } else {
        try writer.append([UInt8](repeating: 0, count: entry.floats.count * entry.dtype.byteCount))
      }
    }
    try writer.finish()
  }
}

/// The reason in an error of the kind that a file's role stands for.
func reason(_ error: StoreError?) -> String {
  switch error {
  case .invalidModel(_, let reason): reason
  case .damaged(let reason), .invalidInput(let reason): reason
  case let other: "another kind of error: \(String(describing: other))"
  }
}

/// What a call throws, or `nil`.
func thrown(_ body: () throws(StoreError) -> Void) -> StoreError? {
  do throws(StoreError) {
    try body()
    return nil
  } catch {
    return error
  }
}
