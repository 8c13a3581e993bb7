/// Fuzz target: the bytes of a safetensors file, read as one, as a model, and as a blob.

import CacheTypes
import Foundation
import PoolStorage

enum HeaderTarget {
  static func run(_ bytes: [UInt8]) {
    let path = FuzzScratch.write(bytes, to: "header.safetensors")
    guard let file = try? SafetensorsFile(path: path, followsLinks: false, role: .model) else { return }
    var end = file.tensors.first?.byteRange.lowerBound ?? bytes.count
    for tensor in file.tensors {
      precondition(tensor.byteRange.lowerBound == end && tensor.byteRange.upperBound <= bytes.count, "side by side")
      end = tensor.byteRange.upperBound
      if let held = try? file.bytes(tensor.name) { precondition(held == Array(bytes[tensor.byteRange]), "its bytes") }
      if let floats = try? file.floats(tensor.name) { precondition(floats.count == tensor.count, "as many as stated") }
      if let integers = try? file.integers(tensor.name) {
        precondition(integers.count == tensor.count, "as many as stated")
      }
    }
    precondition(end == bytes.count, "tensors cover the file")
    guard let model = try? Model(file, digest: []) else { return }
    precondition(model.layers.count == model.shape.layers.count, "tensors of every layer")
    // What is a model becomes a blob, and that the same model.
    do {
      let record = try PoolBlob.install(modelFile: path, into: FuzzScratch.path)
      defer { try? FileManager.default.removeItem(atPath: "\(FuzzScratch.path)/\(record.name)") }
      let pool = try PoolBlob.open(directory: FuzzScratch.path, record: record)
      try pool.verifyAll()
      precondition(pool.model.shape == model.shape, "the same model")
    } catch {
      preconditionFailure("a model that cannot be installed: \(error)")
    }
  }
}
