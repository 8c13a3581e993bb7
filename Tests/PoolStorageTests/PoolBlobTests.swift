/// Blobs: what install makes of a model file.

import CacheTypes
import Foundation
import PoolStorage
import Testing

@Suite struct PoolBlobTests {
  private let directory: TemporaryDirectory
  private let store: TemporaryDirectory
  init() throws {
    directory = try TemporaryDirectory()
    store = try TemporaryDirectory()
  }

  private func install(_ model: ModelFile, order: ([String]) -> [String] = { $0 }) throws -> BlobRecord {
    try model.write(to: directory.file("model.safetensors"), order: order)
    return try PoolBlob.install(modelFile: directory.file("model.safetensors"), into: store.path)
  }

  private func blob(_ record: BlobRecord) throws -> SafetensorsFile {
    try SafetensorsFile(path: store.file(record.name), followsLinks: false, role: .blob)
  }

  @Test(arguments: [TensorDType.f32, .f16, .bf16])
  func `every tensor starts on a 64-byte boundary and holds the model's bytes`(_ dtype: TensorDType) throws {
    let model = ModelFile.small(dtype: dtype)
    let file = try blob(install(model))
    var names: Set<String> = []
    for tensor in file.tensors where !tensor.name.hasPrefix("_pad.") {
      #expect(tensor.byteRange.lowerBound.isMultiple(of: 64), "\(tensor.name)")
      #expect(tensor.dtype == dtype)
      #expect(tensor.shape == model.tensors[tensor.name]?.shape)
      #expect(try file.floats(tensor.name) == model.tensors[tensor.name]?.floats)
      names.insert(tensor.name)
    }
    #expect(names == Set(model.tensors.keys))
  }

  @Test func `padding is zeros, shorter than the boundary, numbered from 0`() throws {
    let file = try blob(install(.small()))
    let padding = file.tensors.filter { $0.name.hasPrefix("_pad.") }
    #expect(!padding.isEmpty)
    #expect(padding.map(\.name) == padding.indices.map { "_pad.\($0)" })
    for tensor in padding {
      #expect(tensor.dtype == .u8 && (1..<64).contains(tensor.byteRange.count))
      #expect(try file.bytes(tensor.name) == Array(repeating: 0, count: tensor.byteRange.count))
    }
  }

  @Test func `the record is what the bytes are`() throws {
    var model = ModelFile.small()
    model.set("items.embedding", [30_000, 5])
    let record = try install(model)
    let bytes = try store.bytes(record.name)
    #expect(record.byteCount == bytes.count)
    #expect(record.digest == bytes.withUnsafeBytes { Checksum.xxh128($0) })
    #expect(record.name == "pool-\(Hex.encode(record.digest)).safetensors")
    var checksums: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 65_536) {
      let checksum = Checksum.xxh3(Array(bytes[start..<min(start + 65_536, bytes.count)]))
      checksums += withUnsafeBytes(of: checksum.littleEndian) { Array($0) }
    }
    #expect(checksums.count == 8 * 10)
    #expect(record.chunkChecksums == checksums)
  }

  @Test func `the same model is the same blob, whatever else is in the file and in which order`() throws {
    let record = try install(.small())
    let bytes = try store.bytes(record.name)
    var other = ModelFile.small()
    other.set("head.0.weight", [3, 3])
    other.set("_pad.0", [7], .u8)
    other.metadata["mode"] = "ckv"
    for order in [{ $0.reversed() }, { $0.shuffled() }, { $0 }] as [([String]) -> [String]] {
      #expect(try install(other, order: order) == record)
      #expect(try store.bytes(record.name) == bytes)
    }
  }

  @Test func `a blob installed as a model is itself`() throws {
    let record = try install(.small())
    let other = try TemporaryDirectory()
    #expect(try PoolBlob.install(modelFile: store.file(record.name), into: other.path) == record)
    #expect(try other.bytes(record.name) == store.bytes(record.name))
  }

  @Test func `any number or setting of the model changes the digest`() throws {
    let record = try install(.small())
    var number = ModelFile.small()
    number.tensors["layers.0.key.router.bias"]!.floats[8] += 0.125
    var setting = ModelFile.small()
    setting.metadata["ckvdb.heads.0"] = "1"
    var names: Set<String> = [record.name]
    for model in [number, setting] { names.insert(try install(model).name) }
    #expect(names.count == 3)
  }

  @Test func `only what the engine names is kept`() throws {
    var model = ModelFile.small()
    model.set("head.0.weight", [3, 3])
    model.set("layers.0.key.norm", [3])
    model.metadata["mode"] = "ckv"
    model.metadata["ckvdb.scale.1"] = "2"
    let file = try blob(install(model))
    #expect(file.metadata == ["ckvdb.format": "1", "ckvdb.heads": "2", "ckvdb.scale.1": "2"])
    #expect(file.info("head.0.weight") == nil && file.info("layers.0.key.norm") == nil)
  }

  @Test func `the blob is the only file, and the owner's alone`() throws {
    let record = try install(.small())
    var status = stat()
    #expect(lstat(store.file(record.name), &status) == 0)
    #expect(status.st_mode & 0o7777 == 0o600)
    #expect(try store.names == [record.name])
  }

  @Test func `a refused model leaves no file`() throws {
    for broken in brokenModels {
      var model = ModelFile.small()
      broken.change(&model)
      try model.write(to: directory.file("model.safetensors"))
      let error = thrown { () throws(StoreError) in
        _ = try PoolBlob.install(modelFile: directory.file("model.safetensors"), into: store.path)
      }
      #expect(reason(error).contains(broken.reason))
      guard case .invalidModel = error else {
        Issue.record("\(broken.name): \(String(describing: error))")
        continue
      }
    }
    #expect(try store.names.isEmpty)
  }

  @Test func `a model file may be a link`() throws {
    try ModelFile.small().write(to: directory.file("real"))
    try FileManager.default.createSymbolicLink(
      atPath: directory.file("link"), withDestinationPath: directory.file("real"))
    let record = try PoolBlob.install(modelFile: directory.file("link"), into: store.path)
    #expect(try store.names == [record.name])
  }

  @Test func `a missing model or directory is an error of the operating system`() throws {
    let missing = directory.file("missing")
    #expect(throws: StoreError.io(operation: "open", path: missing, code: ENOENT)) {
      try PoolBlob.install(modelFile: missing, into: store.path)
    }
    try ModelFile.small().write(to: directory.file("model.safetensors"))
    let error = thrown { () throws(StoreError) in
      _ = try PoolBlob.install(modelFile: directory.file("model.safetensors"), into: missing)
    }
    guard case .io(operation: "open", _, code: ENOENT) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }
}
