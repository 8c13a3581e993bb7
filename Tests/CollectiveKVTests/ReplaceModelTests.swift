/// A retrained model: what the old one's rows are from then on.

import CollectiveKV
import Testing

struct ReplaceModelTests {
  private let directory: TemporaryDirectory
  private let path: String
  private static let part = TestModel.part(2, 6, 8)
  private static let shape = TestModel.shape([LayerShape(key: part, value: part, heads: 1)], embeddingWidth: 4)
  private let embeddings = (0..<20).map { Float($0 % 7) / 4 }

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file("shop.ckv")
    try TestModel(Self.shape, seed: 1).write(to: directory.file("old.safetensors"))
    try TestModel(Self.shape, seed: 2).write(to: directory.file("new.safetensors"))
    let store = try CacheStore.create(at: path, model: directory.file("old.safetensors"))
    try store.append(user: 1, embeddings: embeddings)
    try store.append(user: 2, embeddings: embeddings)
    try store.close()
  }

  @Test func `rows of a replaced model are stale until their user starts anew`() throws {
    try CacheStore.replaceModel(at: path, with: directory.file("new.safetensors"))
    let store = try CacheStore.open(at: path)
    #expect(throws: StoreError.staleUser(1)) { try store.length(of: 1) }
    #expect(throws: StoreError.staleUser(1)) { try store.reconstruct(user: 1, layer: 0) }
    #expect(throws: StoreError.staleUser(1)) { try store.append(user: 1, embeddings: embeddings) }
    #expect(try store.statistics().staleUsers == 2)
    let request = AppendRequest(user: 1, source: .embeddings(embeddings), resetsStaleUser: true)
    #expect(try store.append([request]) == [5])
    #expect(try store.length(of: 1) == 5)
    #expect(try store.verify().problems.isEmpty)
  }

  @Test func `one stale user of a batch fails alone`() throws {
    try CacheStore.replaceModel(at: path, with: directory.file("new.safetensors"))
    let store = try CacheStore.open(at: path)
    try store.append(user: 3, embeddings: embeddings)
    let query: [Float] = Array(repeating: 0.5, count: Self.shape.layers[0].key.width)
    let answers = try store.attend([1, 3].map { AttendRequest(user: $0, queries: query) })
    #expect(answers[0].error == .staleUser(1))
    #expect(answers[1].error == nil && answers[1].length == 5)
  }

  @Test func `an open store reads its own model's users and refuses to append after another one came`() throws {
    let store = try CacheStore.open(at: path)
    let before = try store.reconstruct(user: 2, layer: 0)
    try CacheStore.replaceModel(at: path, with: directory.file("new.safetensors"))
    #expect(try store.reconstruct(user: 2, layer: 0) == before)
    let refusal = #expect(throws: StoreError.self) { try store.append(user: 2, embeddings: embeddings) }
    guard case .notAStore = refusal else {
      Issue.record("\(String(describing: refusal))")
      return
    }
    #expect(try store.reconstruct(user: 2, layer: 0) == before)
    #expect(try CacheStore.open(at: path).statistics().staleUsers == 2)
  }

  @Test func `the old model put back makes its rows valid again`() throws {
    try CacheStore.replaceModel(at: path, with: directory.file("new.safetensors"))
    try CacheStore.replaceModel(at: path, with: directory.file("old.safetensors"))
    let store = try CacheStore.open(at: path)
    #expect(try store.length(of: 2) == 5)
    #expect(try store.append(user: 2, embeddings: embeddings) == 10)
  }

  @Test func `a model that breaks a rule changes nothing`() throws {
    #expect(throws: StoreError.self) { try CacheStore.replaceModel(at: path, with: directory.file("none")) }
    #expect(try CacheStore.open(at: path).length(of: 1) == 5)
  }
}
