import CacheTypes
import Foundation
import RowStorage
import Testing

/// Stores of released format versions; `schema/fixtures/README.md` lists them.
struct FixtureTests {
  static let folder = SpecificationTests.folder.appendingPathComponent("fixtures/format-1").path
  static let names = ["f32", "f16", "bf16", "i8"]

  /// The first line of expected.jsonl.
  struct Facts: Codable, Equatable {
    var element: String
    var columns: Int64
    var pageBytes: Int
    var users: Int
    var positions: Int
    var blockRows: Int
    var tailRows: Int
    var layout: String
    var store: String

    init(_ store: RowStore, side: SideDatabase) throws {
      let counted = try store.statistics()
      element = counted.element.name
      columns = counted.columns.rawValue
      pageBytes = counted.pageByteCount
      users = counted.users
      positions = counted.positions
      blockRows = counted.blockRows
      tailRows = counted.tailRows
      layout = Hex.encode(store.model.shape.encodedLayout)
      self.store = try side.rows("SELECT store FROM meta")[0]
    }
  }

  /// The other lines: a user's history.
  struct History: Codable, Equatable {
    struct Layer: Codable, Equatable {
      var keyIndex: [UInt32]
      var valueIndex: [UInt32]
      var keyUser: [Float]
      var valueUser: [Float]
    }
    var user: String
    var length: Int
    var layers: [Layer]
    var items: [Int64]?
    var timestamps: [Int64]?

    init(_ user: UserID, _ rows: UserRows) {
      self.user = user.description
      length = rows.length
      layers = rows.entries.layers.map {
        Layer(
          keyIndex: $0.keyIndices, valueIndex: $0.valueIndices, keyUser: $0.keyUser, valueUser: $0.valueUser)
      }
      items = rows.entries.items
      timestamps = rows.entries.timestamps
    }
  }

  static func histories(_ store: RowStore) throws -> [History] {
    var histories: [History] = []
    try store.forEachUser { (user, snapshot) throws(StoreError) in
      histories.append(History(user, try snapshot.read(user, keepsColumns: true)))
    }
    return histories
  }

  static func expected(_ name: String) throws -> (Facts, [History]) {
    let lines = try String(contentsOfFile: "\(folder)/\(name)/expected.jsonl", encoding: .utf8).split(separator: "\n")
    let decoder = JSONDecoder()
    return (
      try decoder.decode(Facts.self, from: Data(try #require(lines.first).utf8)),
      try lines.dropFirst().map { try decoder.decode(History.self, from: Data($0.utf8)) }
    )
  }

  /// A copy: a fixture itself is never opened.
  static func copy(_ name: String) throws -> String {
    let scratch = try ScratchFolder()
    try scratch.write(ScratchFolder.bytes(at: "\(folder)/\(name)/users.sqlite"), to: "users.sqlite")
    return "\(scratch.path)/users.sqlite"
  }

  @Test(.enabled(if: ProcessInfo.processInfo.environment["CKVDB_WRITE_FIXTURES"] == "1"))
  func `fixtures are written anew`() throws {
    for name in Self.names { try FixtureWriter(name).write(to: "\(Self.folder)/\(name)") }
  }

  @Test(arguments: names)
  func `a fixture is read entry by entry`(name: String) throws {
    let (facts, histories) = try Self.expected(name)
    let path = try Self.copy(name)
    for access in [RowStore.Access.immutable, .readOnly, .readWrite] {
      let store = try RowStore(path: path, access: access)
      #expect(try Facts(store, side: SideDatabase(path)) == facts)
      #expect(try Self.histories(store) == histories)
      #expect(try store.problems() == [])
      try store.close()
    }
    #expect(facts.blockRows > 0 && facts.tailRows > 0 && facts.element == name)
  }

  @Test(arguments: names)
  func `a fixture can be written to and folded`(name: String) throws {
    let (_, histories) = try Self.expected(name)
    let path = try Self.copy(name)
    let store = try RowStore(path: path, access: .readWrite, syncsCommits: false)
    for history in histories {
      #expect(try store.append(try #require(UserID(history.user)), [1, 2, 3]) == history.length + 3)
    }
    try store.fold()
    #expect(try store.problems() == [])
    // What eight bits have not rounded yet may be rounded now.
    guard name != "i8" else { return }
    for history in histories {
      let user = try #require(UserID(history.user))
      let rows = try store.read(user, .range(0..<history.length))
      #expect(History(user, rows).layers == history.layers)
    }
  }

  @Test func `fixtures stay small`() throws {
    var total = 0
    for name in Self.names {
      for file in ["users.sqlite", "expected.jsonl"] {
        total += try FileSystem.byteCount("\(Self.folder)/\(name)/\(file)")
      }
    }
    #expect(total < 250_000)
  }
}
