/// Opening a blob: everything that differs from the record is found, the header at once, a layer when it is used.

import CacheTypes
import Foundation
import PoolStorage
import Testing

@Suite struct MappedPoolTests {
  private let store: TemporaryDirectory
  init() throws { store = try TemporaryDirectory() }

  /// Layers of about 200 KiB, so that every layer and the items have chunks of their own.
  private func install() throws -> BlobRecord {
    var model = ModelFile()
    for layer in 0..<3 { model.setPart("layers.\(layer).key", d_e: 4, d_u: 2, d_g: 200, m: 256) }
    model.set("items.embedding", [20_000, 4])
    let directory = try TemporaryDirectory()
    try model.write(to: directory.file("model"))
    return try PoolBlob.install(modelFile: directory.file("model"), into: store.path)
  }

  private func open(_ record: BlobRecord) throws(StoreError) -> MappedPool {
    try PoolBlob.open(directory: store.path, record: record)
  }

  /// Changes bytes in place, as a failing disk would.
  private func overwrite(_ record: BlobRecord, at offset: Int, _ change: (UInt8) -> UInt8 = { $0 ^ 1 }) throws {
    let file = try OpenFile(store.file(record.name), .updating)
    var byte: [UInt8] = [0]
    _ = try byte.withUnsafeMutableBytes { try file.read(into: $0, at: offset) }
    byte[0] = change(byte[0])
    try byte.withUnsafeBytes { try file.write($0, at: offset) }
  }

  private func damage(_ body: () throws(StoreError) -> Void) -> String {
    switch thrown(body) {
    case .damaged(let text): text
    case let other: "no damage: \(String(describing: other))"
    }
  }

  @Test func `a blob opens as the model it was made of`() throws {
    let record = try install()
    let pool = try open(record)
    #expect(pool.model.digest == record.digest && pool.record == record)
    #expect(pool.model.shape.layers.count == 3)
    #expect(pool.model.layers[2].key.pool.floats() == ModelFile.numbers(51_200, seed: seed("layers.2.key.pool")))
    try pool.verify(layer: 0)
    try pool.verify(layer: 1)
    try pool.verify(layer: 2)
    try pool.verifyItemEmbedding()
    try pool.verifyAll()
  }

  private func seed(_ name: String) -> Int { name.utf8.reduce(0) { ($0 * 31 + Int($1)) % 9973 } }

  @Test func `tensors outlive the pool object`() throws {
    let record = try install()
    let tensor = try open(record).model.layers[0].key.pool
    #expect(tensor.floats() == ModelFile.numbers(51_200, seed: seed("layers.0.key.pool")))
  }

  @Test func `damage in a layer is found when that layer is used, with chunk and tensor`() throws {
    let record = try install()
    let file = try SafetensorsFile(path: store.file(record.name), followsLinks: false)
    let range = file.info("layers.1.key.pool")!.byteRange
    let place = range.lowerBound + range.count / 2
    try overwrite(record, at: place)
    let pool = try open(record)
    try pool.verify(layer: 0)
    try pool.verify(layer: 2)
    try pool.verifyItemEmbedding()
    for _ in 0..<2 {
      let text = damage { () throws(StoreError) in try pool.verify(layer: 1) }
      #expect(text.contains("chunk \(place / 65_536), bytes \(place / 65_536 * 65_536)..<"), "\(text)")
      #expect(text.hasSuffix("it holds layers.1.key.pool") && text.hasPrefix(store.file(record.name)), "\(text)")
    }
    #expect(damage { () throws(StoreError) in try pool.verifyAll() }.contains("it holds layers.1.key.pool"))
  }

  @Test func `damage in the item embeddings is found when they are used`() throws {
    let record = try install()
    try overwrite(record, at: record.byteCount - 1)
    let pool = try open(record)
    for layer in 0..<3 { try pool.verify(layer: layer) }
    #expect(damage { () throws(StoreError) in try pool.verifyItemEmbedding() }.hasSuffix("it holds items.embedding"))
  }

  @Test func `every tensor of a layer is among what is verified`() throws {
    let record = try install()
    let file = try SafetensorsFile(path: store.file(record.name), followsLinks: false)
    for tensor in file.tensors where tensor.name.hasPrefix("layers.2.") {
      for place in [tensor.byteRange.lowerBound, tensor.byteRange.upperBound - 1] {
        try overwrite(record, at: place)
        let pool = try open(record)
        let text = damage { () throws(StoreError) in try pool.verify(layer: 2) }
        #expect(text.contains(tensor.name), "\(text)")
        try overwrite(record, at: place)
      }
    }
    try open(record).verifyAll()
  }

  @Test func `a layer is compared once in the life of a pool, all of it always`() throws {
    let record = try install()
    let pool = try open(record)
    try pool.verify(layer: 0)
    let file = try SafetensorsFile(path: store.file(record.name), followsLinks: false)
    try overwrite(record, at: file.info("layers.0.key.pool")!.byteRange.lowerBound + 100_000)
    try pool.verify(layer: 0)
    #expect(damage { () throws(StoreError) in try pool.verifyAll() }.contains("layers.0.key.pool"))
    let again = try open(record)
    #expect(damage { () throws(StoreError) in try again.verify(layer: 0) }.contains("layers.0.key.pool"))
  }

  @Test func `threads that verify the same layers agree`() async throws {
    let record = try install()
    let file = try SafetensorsFile(path: store.file(record.name), followsLinks: false)
    try overwrite(record, at: file.info("layers.2.key.pool")!.byteRange.upperBound - 70_000)
    let pool = try open(record)
    let results = await withTaskGroup(of: [Bool].self) { group in
      for _ in 0..<16 {
        group.addTask {
          (0..<3).map { layer in thrown { () throws(StoreError) in try pool.verify(layer: layer) } == nil }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(results.count == 16 && results.allSatisfy { $0 == [true, true, false] })
  }

  @Test func `every bit of the header flipped is damage at once`() throws {
    let record = try install()
    let file = try SafetensorsFile(path: store.file(record.name), followsLinks: false)
    let end = file.tensors[0].byteRange.lowerBound
    for place in 0..<end {
      for bit in (place < 16 ? Array(0..<8) : [place % 8]) {
        try overwrite(record, at: place) { $0 ^ (1 << bit) }
        let text = damage { () throws(StoreError) in _ = try open(record) }
        #expect(text.contains("it holds the header"), "byte \(place), bit \(bit): \(text)")
        try overwrite(record, at: place) { $0 ^ (1 << bit) }
      }
    }
    try open(record).verifyAll()
  }

  @Test func `a header of several chunks is compared whole`() throws {
    var model = ModelFile()
    for layer in 0..<400 { model.set("layers.\(layer).key.pool", [2, 2]) }
    for layer in 0..<400 { model.metadata["ckvdb.scale.\(layer)"] = "1" + String(repeating: "0", count: 20) }
    model.metadata["ckvdb.heads"] = "1"
    let directory = try TemporaryDirectory()
    try model.write(to: directory.file("model"))
    let record = try PoolBlob.install(modelFile: directory.file("model"), into: store.path)
    let file = try SafetensorsFile(path: store.file(record.name), followsLinks: false)
    let end = file.tensors[0].byteRange.lowerBound
    #expect(end > 65_536)
    try open(record).verifyAll()
    for place in [65_535, 65_536, end - 1] {
      try overwrite(record, at: place)
      #expect(damage { () throws(StoreError) in _ = try open(record) }.contains("it holds the header"))
      try overwrite(record, at: place)
    }
  }

  @Test func `a blob of another length is damage at once`() throws {
    let record = try install()
    let path = store.file(record.name)
    let bytes = try store.bytes(record.name)
    for count in [0, 1, 7, 8, 100, 65_535, 65_536, bytes.count - 1, bytes.count + 1] {
      try Data((bytes + [0]).prefix(count)).write(to: URL(fileURLWithPath: path))
      let text = damage { () throws(StoreError) in _ = try open(record) }
      #expect(text == "\(path): \(count) bytes, expected \(bytes.count)")
    }
  }

  @Test func `a blob that is missing, a link or a directory is damage`() throws {
    let record = try install()
    let path = store.file(record.name)
    try FileManager.default.moveItem(atPath: path, toPath: store.file("moved"))
    func check() {
      let text = damage { () throws(StoreError) in _ = try open(record) }
      #expect(text == "\(path): the blob is missing or not a regular file")
    }
    check()
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: store.file("moved"))
    check()
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    check()
  }

  @Test func `another model under the name is damage`() throws {
    let record = try install()
    let directory = try TemporaryDirectory()
    var other = ModelFile.small()
    other.set("layers.2.key.pool", [1, 2])
    try other.write(to: directory.file("model"))
    let second = try PoolBlob.install(modelFile: directory.file("model"), into: store.path)
    try FileManager.default.removeItem(atPath: store.file(record.name))
    try FileManager.default.moveItem(atPath: store.file(second.name), toPath: store.file(record.name))
    var lying = record
    lying.byteCount = second.byteCount
    lying.chunkChecksums = second.chunkChecksums
    #expect(damage { () throws(StoreError) in _ = try open(record) }.contains("bytes, expected"))
    // With chunks and length of the other blob only the digest tells them apart.
    let pool = try open(lying)
    #expect(
      damage { () throws(StoreError) in try pool.verifyAll() }.contains("the digest is \(Hex.encode(second.digest))"))
  }

  @Test func `a record whose name is not its digest's is refused`() throws {
    let record = try install()
    let good = record.name
    let names = [
      "", ".", "..", "/etc/passwd", "../\(good)", "./\(good)", "\(good)/", good.uppercased(), good + "\0", " " + good,
      "pool-.safetensors", "pool.safetensors", String(good.dropLast()),
    ]
    for name in names {
      var bent = record
      bent.name = name
      let text = damage { () throws(StoreError) in _ = try open(bent) }
      #expect(text.contains("expected the digest's name"), "\(name): \(text)")
    }
    for digest in [[], Array(record.digest.dropLast()), record.digest + [0]] {
      var bent = record
      bent.digest = digest
      bent.name = PoolBlob.name(digest: digest)
      #expect(damage { () throws(StoreError) in _ = try open(bent) }.contains("expected the digest's name"))
    }
  }

  @Test func `a record whose numbers contradict each other is refused`() throws {
    let record = try install()
    let changes: [(inout BlobRecord) -> Void] = [
      { $0.byteCount = 0 }, { $0.byteCount = -1 }, { $0.byteCount = .min }, { $0.byteCount = .max },
      { $0.byteCount += 65_536 }, { $0.chunkChecksums = [] }, { $0.chunkChecksums.removeLast() },
      { $0.chunkChecksums.removeLast(8) }, { $0.chunkChecksums += [0] },
      { $0.chunkChecksums += Array(repeating: 0, count: 8) },
    ]
    for change in changes {
      var bent = record
      change(&bent)
      #expect(
        damage { () throws(StoreError) in _ = try open(bent) }.contains(
          "bytes of checksums for \(bent.byteCount) bytes"))
    }
  }

  @Test func `a checksum that differs is damage of its chunk`() throws {
    let record = try install()
    for chunk in 0..<record.chunkChecksums.count / 8 {
      var bent = record
      bent.chunkChecksums[chunk * 8 + chunk % 8] ^= 0x10
      let text = damage { () throws(StoreError) in try open(bent).verifyAll() }
      #expect(text.contains("chunk \(chunk), "), "\(text)")
    }
  }

  @Test func `asking for a layer that is not there is the caller's mistake`() async throws {
    // The child works in this test's directory, which the child's end does not remove.
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      [path = store.path as String] in
      try ModelFile.small().write(to: path + "/model")
      let record = try PoolBlob.install(modelFile: path + "/model", into: path)
      try PoolBlob.open(directory: path, record: record).verify(layer: 2)
    }
    let message = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
    #expect(message.contains("the model has no such layer"))
  }
}
