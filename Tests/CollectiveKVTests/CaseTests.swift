/// The kept cases, whose answers a reference in 64-bit floats has computed: see Cases/README.md.

import CollectiveKV
import Foundation
import PoolStorage
import Testing

struct CaseTests {
  /// One folder of `Cases`.
  struct Case: CustomTestStringConvertible {
    let name: String
    var testDescription: String { name }
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Cases")
    static let all = ["plain", "additive", "interned", "search"].map { Case(name: $0) }

    func path(_ file: String) -> String { Self.folder.appendingPathComponent(name).appendingPathComponent(file).path }
    func tensors(_ file: String) throws -> SafetensorsFile {
      try SafetensorsFile(path: path(file + ".safetensors"), followsLinks: false)
    }
    func options() throws -> Options {
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      return try decoder.decode(Options.self, from: Data(contentsOf: URL(fileURLWithPath: path("case.json"))))
    }
    struct Options: Decodable {
      var element: String
      var window: Int?
      var top: Int
      var divisor: Float
      var selectLayer: Int?
    }
    /// The layers that have a file of this name.
    func layers(_ file: String) -> [Int] {
      (0..<8).filter {
        FileManager.default.fileExists(atPath: path("\(file.replacing("*", with: "\($0)")).safetensors"))
      }
    }

    /// A store that holds the history, appended in the order of arrival by so many positions at a time.
    func makeStore(in directory: TemporaryDirectory, batch: Int) throws -> CacheStore {
      let store = try CacheStore.create(
        at: directory.file("case.ckv"), model: path("model.safetensors"),
        options: .init(element: #require(ElementType(name: try options().element)), durability: .normal))
      let history = try tensors("history")
      let users = try #require(try history.integers("user"))
      let embeddings = try #require(try history.floats("embedding"))
      let items = try history.integers("item")
      let width = embeddings.count / users.count
      for start in stride(from: 0, to: users.count, by: batch) {
        let requests = (start..<min(start + batch, users.count)).map { row in
          AppendRequest(
            user: .integer(users[row]), source: .embeddings(Array(embeddings[row * width..<(row + 1) * width])),
            items: items.map { [$0[row]] })
        }
        try store.append(requests)
      }
      return store
    }
  }

  @Test(arguments: Case.all)
  func `reconstruction is the reference's, bit for bit`(_ kept: Case) throws {
    let directory = try TemporaryDirectory()
    let store = try kept.makeStore(in: directory, batch: 7)
    var seen = 0
    for isFolded in [false, true] {
      if isFolded { #expect(try store.fold() > 0) }
      for layer in kept.layers("expected.*.reconstruct") {
        let expected = try kept.tensors("expected.\(layer).reconstruct")
        for tensor in expected.tensors {
          let user = try #require(UserID(String(tensor.name.split(separator: ".")[1])))
          let full = try store.reconstruct(user: user, layer: layer)
          let side = tensor.name.hasPrefix("key.") ? full.keys : full.values
          #expect(full.positions == 0..<tensor.shape[0])
          expectSame(try difference(side, #require(try expected.floats(tensor.name))), "layer \(layer), \(tensor.name)")
          seen += 1
        }
        if isKeyOnly(expected) { #expect(try store.reconstruct(user: anyUser(expected), layer: layer).valueWidth == 0) }
      }
    }
    #expect(seen >= 2 * 3)
  }

  /// Whether a layer has keys alone.
  private func isKeyOnly(_ expected: SafetensorsFile) -> Bool {
    expected.tensors.allSatisfy { $0.name.hasPrefix("key.") }
  }
  private func anyUser(_ expected: SafetensorsFile) throws -> UserID {
    try #require(UserID(String(expected.tensors[0].name.dropFirst("key.".count))))
  }

  /// The attention functions as the files of a case name them, with what the case says they take.
  private func functions(_ kept: Case, _ queries: SafetensorsFile) throws -> [(String, Attention)] {
    let options = try kept.options()
    let (top, divisor, window) = (options.top, options.divisor, options.window)
    func rotations(_ name: String) throws -> Rotations {
      let shape = try #require(queries.info(name)?.shape)
      let numbers = try #require(try queries.floats(name))
      return Rotations(numbers, groups: shape.count == 3 ? shape[0] : 1, bits: shape[shape.count - 2])
    }
    let bias = try #require(try queries.floats("position_bias"))
    return [
      ("softmax", .softmax(window: window)), ("topk", .topk(top: top, window: window)),
      ("select", .select(top: top, layer: options.selectLayer, window: window)),
      ("simhash", .simhash(top: top, rotations: try rotations("rotations.simhash"), window: window)),
      ("sdim", .sdim(rotations: try rotations("rotations.sdim"), window: window)),
      ("sdim-sum", .sdimSum(rotations: try rotations("rotations.sdim"), window: window)),
      ("silu", .silu(divisor: divisor, window: window)),
      ("silu-bias", .siluBias(bias, divisor: divisor, window: window)),
    ]
  }

  @Test(arguments: Case.all)
  func `every attention function is the reference's within 1e-5 of the largest number`(_ kept: Case) throws {
    let directory = try TemporaryDirectory()
    let store = try kept.makeStore(in: directory, batch: 1)
    let layers = kept.layers("queries.*")
    #expect(!layers.isEmpty)
    for isFolded in [false, true] {
      if isFolded { try store.fold() }
      for layer in layers {
        let queries = try kept.tensors("queries.\(layer)")
        let users = try #require(try queries.integers("user"))
        let numbers = try #require(try queries.floats("query"))
        let searches = try #require(try queries.floats("select.query"))
        let positions = try queries.integers("position")
        let (width, searchWidth) = (numbers.count / users.count, searches.count / users.count)
        let candidates = width / store.model.shape.layers[layer].key.width
        let requests = users.indices.map { row in
          AttendRequest(
            user: .integer(users[row]), queries: Array(numbers[row * width..<(row + 1) * width]),
            positions: positions.map { $0[row * candidates..<(row + 1) * candidates].map(Int.init) },
            selectQueries: Array(searches[row * searchWidth..<(row + 1) * searchWidth]))
        }
        for (name, attention) in try functions(kept, queries) {
          let expected = try #require(try kept.tensors("expected.\(layer).\(name)").floats("output"))
          let responses = try store.attend(requests, layer: layer, attention)
          #expect(responses.allSatisfy { $0.error == nil })
          let output = responses.flatMap(\.output)
          expectSame(difference(output, expected.map(Double.init), within: 1e-5), "layer \(layer), \(name)")
        }
      }
    }
  }
}
