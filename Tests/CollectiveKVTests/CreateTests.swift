/// Making stores: what is refused, and that nothing is left behind then, not even a draft.

import CollectiveKV
import Foundation
import PoolStorage
import Testing

struct CreateTests {
  private let directory: TemporaryDirectory
  private let model: String

  init() throws {
    directory = try TemporaryDirectory()
    model = directory.file("model.safetensors")
    try TestModel.plain.write(to: model)
  }

  /// Expects an error, and the directory as it was.
  private func expectNothingLeft(
    at path: String? = nil, model: String? = nil, _ options: CreateOptions = .init(),
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> StoreError? {
    let before = try directory.names
    let error = thrown { () throws(StoreError) in
      _ = try CacheStore.create(
        at: path ?? directory.file("shop.ckv"), model: model ?? self.model, options: options)
    }
    #expect(error != nil, sourceLocation: sourceLocation)
    #expect(try directory.names == before, sourceLocation: sourceLocation)
    return error
  }

  @Test func `a store is a directory of a database, its log, a pool and a watermark`() throws {
    let store = try CacheStore.create(at: directory.file("shop.ckv"), model: model)
    #expect(store.path == directory.file("shop.ckv"))
    let pool = "pool-\(store.model.digest).safetensors"
    let files = try FileManager.default.contentsOfDirectory(atPath: store.path).sorted()
    #expect(
      files.filter { $0 != "users.sqlite-wal" && $0 != "users.sqlite-shm" } == [pool, "users.sqlite", "watermark"])
    try store.close()
    #expect(try directory.names == ["model.safetensors", "shop.ckv"])
  }

  @Test func `what is at the path already stays as it is`() throws {
    try FileSystem.makeDirectory(directory.file("directory"))
    try directory.write([1, 2, 3], to: "file")
    try FileManager.default.createSymbolicLink(
      atPath: directory.file("dangling"), withDestinationPath: directory.file("nothing"))
    try FileManager.default.createSymbolicLink(
      atPath: directory.file("link"), withDestinationPath: directory.file("directory"))
    let store = try CacheStore.create(at: directory.file("store"), model: model)
    try store.append(user: 1, embeddings: Array(repeating: 1, count: 6))
    for name in ["directory", "file", "dangling", "link", "store"] {
      let path = directory.file(name)
      #expect(try expectNothingLeft(at: path) == .alreadyExists(path: path))
      #expect(try expectNothingLeft(at: path + "/") == .alreadyExists(path: path))
    }
    #expect(try directory.bytes(of: "file") == [1, 2, 3])
    #expect(try store.length(of: 1) == 1)
  }

  @Test func `a path whose parent is missing is refused`() throws {
    guard case .io(_, _, ENOENT) = try expectNothingLeft(at: directory.file("missing/shop.ckv")) else {
      Issue.record("not refused as missing")
      return
    }
    guard case .io(_, _, ENOTDIR) = try expectNothingLeft(at: model + "/shop.ckv") else {
      Issue.record("not refused as no directory")
      return
    }
  }

  @Test func `a path may end with slashes`() throws {
    let store = try CacheStore.create(at: directory.file("a.ckv//"), model: model)
    #expect(store.path == directory.file("a.ckv"))
    try store.close()
    #expect(try CacheStore.open(at: directory.file("a.ckv/")).path == directory.file("a.ckv"))
  }

  @Test(arguments: [0, 1, 512, 4_095, 8_191, 131_072, -4_096])
  func `a page size that is none is refused`(byteCount: Int) throws {
    let error = try expectNothingLeft(.init(pageByteCount: byteCount))
    #expect(reason(error).contains("a page of \(byteCount) bytes: choose one of 4096, 8192, 16384, 32768, 65536"))
  }

  // MARK: Models

  @Test func `a model file that is missing or no model is refused`() throws {
    guard case .io(_, _, ENOENT) = try expectNothingLeft(model: directory.file("nothing")) else {
      Issue.record("not refused as missing")
      return
    }
    let whole = try directory.bytes(of: "model.safetensors")
    let contents: [[UInt8]] = [[], [1, 2, 3], Array(repeating: 0, count: 64), whole.dropLast(), whole + [0]]
    for (place, bytes) in contents.enumerated() {
      try directory.write(bytes, to: "model-\(place)")
      let path = directory.file("model-\(place)")
      guard case .invalidModel(path, _) = try expectNothingLeft(model: path) else {
        Issue.record("model \(place) is not refused as invalid")
        continue
      }
    }
  }

  @Test func `a model that breaks a rule is refused with the tensor's name`() throws {
    func expectRefusal(_ words: String, _ change: (inout TestModel) -> Void) throws {
      var model = TestModel.mixed
      change(&model)
      let path = directory.file("bad.safetensors")
      try model.write(to: path)
      #expect(reason(try expectNothingLeft(model: path)).contains(words), "\(words)")
    }
    try expectRefusal("layers.0.key.pool is missing") { $0.tensors["layers.0.key.pool"] = nil }
    try expectRefusal("layers.1.value.projection.bias") {
      $0.tensors["layers.1.value.projection.bias"]!.shape = [1, 1]
    }
    try expectRefusal("heads do not divide") { $0.metadata["ckvdb.heads.2"] = "3" }
    try expectRefusal("ckvdb.format") { $0.metadata["ckvdb.format"] = "2" }
    try expectRefusal("ckvdb.colour") { $0.metadata["ckvdb.colour"] = "red" }
    try expectRefusal("items.embedding") { $0.metadata["ckvdb.input"] = "item" }
    try expectRefusal("layers.0.value.pool") { $0.tensors["layers.0.value.pool"]!.numbers[7] = .nan }
    try expectRefusal("layers.2.value.pool has 12 rows") {
      $0.tensors["layers.2.value.pool"] = .init(shape: [12, 6], numbers: Array(repeating: 0, count: 72))
    }
  }

  // MARK: What is fixed

  @Test(arguments: ElementType.allCases, [4_096, 65_536])
  func `options last`(element: ElementType, pageByteCount: Int) throws {
    let path = directory.file("shop.ckv")
    let made = try CacheStore.create(
      at: path, model: model,
      options: .init(element: element, keepsItems: true, keepsTimestamps: false, pageByteCount: pageByteCount))
    try made.close()
    let store = try CacheStore.open(at: path)
    let statistics = try store.statistics()
    #expect(statistics.element == element)
    #expect(statistics.pageByteCount == pageByteCount)
    #expect(statistics.keepsItems && !statistics.keepsTimestamps)
    #expect(statistics.formatVersion == 1)
    #expect(statistics.users == 0 && statistics.positions == 0 && statistics.tailRows == 0)
    #expect(store.model.shape == TestModel.plain.shape)
    #expect(store.model.digest == made.model.digest)
    #expect(store.model.itemCount == nil && !store.model.takesItems)
  }
}
