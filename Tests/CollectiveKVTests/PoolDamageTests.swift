/// A pool that is not what the database says: found when it is opened or first used, and by verify.

import CollectiveKV
import Foundation
import Testing

struct PoolDamageTests {
  private let directory: TemporaryDirectory
  private let path: String
  private let pool: String

  init() throws {
    directory = try TemporaryDirectory()
    let store = try directory.makeStore(.items)
    try store.append(user: 1, items: [1, 2, 3])
    path = store.path
    pool = "shop.ckv/pool-\(store.model.digest).safetensors"
    try store.close()
  }

  private var openingError: StoreError? { thrown { () throws(StoreError) in _ = try CacheStore.open(at: path) } }

  @Test func `a missing pool is damage`() throws {
    try FileManager.default.removeItem(atPath: directory.file(pool))
    #expect(reason(openingError).contains("the blob is missing"))
  }

  @Test func `a pool behind a link is damage`() throws {
    try FileManager.default.moveItem(atPath: directory.file(pool), toPath: directory.file("elsewhere"))
    try FileManager.default.createSymbolicLink(
      atPath: directory.file(pool), withDestinationPath: directory.file("elsewhere"))
    #expect(reason(openingError).contains("the blob is missing or not a regular file"))
  }

  @Test func `a pool of another length is damage`() throws {
    let bytes = try directory.bytes(of: pool)
    for changed in [Array(bytes.dropLast()), bytes + [0], []] {
      try directory.write(changed, to: pool)
      #expect(reason(openingError).contains("\(changed.count) bytes, expected \(bytes.count)"))
    }
  }

  @Test func `another model's pool under this one's name is damage`() throws {
    var other = TestModel.items
    other.tensors["layers.0.key.pool"]!.numbers[3] += 1
    let store = try directory.makeStore(other, named: "other.ckv")
    let digest = store.model.digest
    try store.close()
    let bytes = try directory.bytes(of: "other.ckv/pool-\(digest).safetensors")
    #expect(try bytes.count == directory.bytes(of: pool).count)
    try directory.write(bytes, to: pool)
    // Both are short: header and tensors are one chunk, which is compared before the header is believed.
    #expect(reason(openingError).contains("has checksum"))
    // Under its own name beside the right one it is none of the store's.
    try FileManager.default.moveItem(
      atPath: directory.file(pool), toPath: path + "/pool-\(digest).safetensors")
    #expect(reason(openingError).contains("the blob is missing"))
  }

  @Test func `a flipped bit in the header is found when the store is opened`() throws {
    var bytes = try directory.bytes(of: pool)
    bytes[40] ^= 1
    try directory.write(bytes, to: pool)
    #expect(reason(openingError).contains("it holds the header"))
  }

  @Test func `a flipped bit in a layer is found when the layer is used, not before, and by verify`() throws {
    // Pools of more than one chunk, so that a layer's damage is not the header's.
    let wide = TestModel(
      TestModel.shape([
        LayerShape(key: TestModel.part(1, 31, 1_024), value: TestModel.part(1, 31, 1_024), heads: 1),
        TestModel.plainLayer,
      ]), itemCount: 20_000)
    let store = try directory.makeStore(wide, named: "wide.ckv")
    try store.append(user: 1, items: [1, 2, 3])
    let name = "wide.ckv/pool-\(store.model.digest).safetensors"
    try store.close()
    let whole = try directory.bytes(of: name)
    #expect(whole.count > 10 * 65_536)
    func open(flipping place: Int) throws -> CacheStore {
      var bytes = whole
      bytes[place] ^= 0x10
      try directory.write(bytes, to: name)
      return try CacheStore.open(at: directory.file("wide.ckv"))
    }
    let query = [Float](repeating: 1, count: 32)
    let inLayer = try open(flipping: 65_536 + 100)
    #expect(try inLayer.length(of: 1) == 3)
    #expect(try inLayer.entries(of: 1).count == 3)
    let words = "chunk 1, bytes 65536..<131072, has checksum"
    let reconstructing = thrown { () throws(StoreError) in _ = try inLayer.reconstruct(user: 1, layer: 0) }
    #expect(reason(reconstructing).contains(words))
    let attending = thrown { () throws(StoreError) in _ = try inLayer.attend(query, user: 1) }
    #expect(reason(attending).contains(words))
    let appending = thrown { () throws(StoreError) in try inLayer.append(user: 1, items: [1]) }
    #expect(reason(appending).contains(words))
    #expect(try inLayer.length(of: 1) == 3)
    let problems = try inLayer.verify().problems
    #expect(problems.count == 1 && problems[0].reason.contains("chunk 1"))
    try inLayer.close()

    let inItems = try open(flipping: whole.count - 200_000)
    #expect(try inItems.reconstruct(user: 1, layer: 0).positions == 0..<3)
    #expect(try inItems.attend(query, user: 1).count == 32)
    let error = thrown { () throws(StoreError) in try inItems.append(user: 1, items: [1]) }
    #expect(reason(error).contains("it holds items.embedding"))
    #expect(try inItems.verify().problems.count == 1)
    try inItems.close()
    try directory.write(whole, to: name)
    #expect(try CacheStore.open(at: directory.file("wide.ckv")).verify().problems == [])
  }

  @Test func `a file that is not the store's is reported`() throws {
    try directory.write([1], to: "shop.ckv/stranger")
    let store = try CacheStore.open(at: path)
    #expect(try store.verify().problems.map(\.description) == ["stranger does not belong to the store"])
  }
}
