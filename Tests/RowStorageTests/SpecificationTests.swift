import CacheTypes
import Foundation
import RowStorage
import Testing

/// The files of `schema` against the code.
struct SpecificationTests {
  static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent(
      "schema")

  static func text(_ name: String) throws -> String {
    try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
  }

  /// The bytes of the lines of format-1.md that start with a label.
  static func bytes(_ label: String) throws -> [UInt8] {
    var bytes: [UInt8] = []
    for line in try text("format-1.md").split(separator: "\n") {
      let words = line.split(separator: " ")
      guard line.hasPrefix("    "), words.first.map(String.init) == label else { continue }
      bytes += words.dropFirst().prefix { $0.count == 2 && Hex.decode($0) != nil }.flatMap { Hex.decode($0)! }
    }
    return bytes
  }

  @Test func `a new database holds the schema of format-1.sql letter by letter`() throws {
    let side = try SideDatabase(try SampleStore().path)
    let pragmas = ["application_id", "user_version"]
    let header = try pragmas.map { "PRAGMA \($0) = \(try side.integer("PRAGMA \($0)"));\n" }.joined()
    let tables = try side.rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").map { $0 + ";\n" }
    let file = try Self.text("format-1.sql").split(separator: "\n", omittingEmptySubsequences: false)
      .drop { $0.hasPrefix("--") || $0.isEmpty }.joined(separator: "\n")
    #expect(file == header + "\n" + tables.joined(separator: "\n"))
    #expect(try side.rows("SELECT count(*) FROM sqlite_schema WHERE sql IS NULL") == ["2"])
  }

  @Test func `a new database has the header that format-1_md states`() throws {
    for pageByteCount in RowStore.pageByteCounts {
      let sample = try SampleStore(pageByteCount: pageByteCount)
      let bytes = try sample.folder.bytes(of: "users.sqlite")
      #expect(bytes[20] == 8)
      #expect(bytes.count.isMultiple(of: pageByteCount))
      for number in 1...bytes.count / pageByteCount {
        let page = Array(bytes[(number - 1) * pageByteCount..<number * pageByteCount])
        let stored = page.suffix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        #expect(stored == Checksum.xxh3(Array(page.dropLast(8)), seed: UInt64(number)), "page \(number)")
      }
      let side = try SideDatabase(sample.path)
      #expect(try side.integer("PRAGMA page_size") == pageByteCount)
      #expect(try side.rows("PRAGMA journal_mode") == ["wal"])
      #expect(try side.integer("PRAGMA auto_vacuum") == 0)
      #expect(try side.rows("PRAGMA encoding") == ["UTF-8"])
    }
  }

  static let shape = ModelShape(
    embeddingWidth: 4, layers: [LayerShape(key: Sample.part(1, 3, 5), value: Sample.part(1, 2, 2), heads: 1)])
  static let entries = Entries(
    count: 3,
    layers: [
      LayerEntries(
        keyIndices: [4, 0, 3], valueIndices: [1, 0, 1], keyUser: [1, -0.5, 0.25], valueUser: [2, 0, 65_504])
    ], items: [1_000, 1_003, 1_001])

  @Test func `the example row of format-1_md is what the code writes and reads`() throws {
    var row = RandomRow(seed: 0)
    row.layout = RowLayout(shape: Self.shape, element: .f16, columns: [.items])
    row.entries = Self.entries
    let payload = try Self.bytes("payload")
    #expect(row.packed() == payload)
    #expect(try row.unpacked(payload, count: 3) == Self.entries)

    let place = RowPlace(user: 42, position: 7, count: 3, generation: 1)
    let checksum = payload.withUnsafeBytes { RowChecksum.of(place, $0) }
    let identity = try Self.bytes("identity")
    #expect(UInt64(bitPattern: checksum) == Checksum.xxh3(payload, seed: Checksum.xxh3(identity)))
    let written = try Self.bytes("checksum").reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    #expect(written == UInt64(bitPattern: checksum), "\(String(UInt64(bitPattern: checksum), radix: 16))")
  }

  @Test func `the example of an eight-bit column is what the code writes`() throws {
    let column = try Self.bytes("i8")
    var packed = [UInt8](repeating: 0, count: 7)
    packed.withUnsafeMutableBytes { Quantiser.pack([-1, 1, 0.5], 0, 0..<3, into: $0) }
    #expect(packed == column)
  }

  @Test func `the example of a layout is what the code writes and reads`() throws {
    #expect(try Self.bytes("layout") == Self.shape.encodedLayout)
    #expect(ModelShape(encodedLayout: try Self.bytes("layout")) == Self.shape)
  }

  @Test func `a byte user's identity is its bytes`() {
    let identity: [UInt8] = [1, 2, 1, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0xAA, 0xBB]
    let place = RowPlace(user: .bytes([0xAA, 0xBB]), position: 5, count: 9, generation: 258)
    let payload: [UInt8] = [1, 2, 3]
    #expect(
      UInt64(bitPattern: payload.withUnsafeBytes { RowChecksum.of(place, $0) })
        == Checksum.xxh3(payload, seed: Checksum.xxh3(identity)))
  }

  @Test func `the limits of format-1_md are the code's`() throws {
    let text = try Self.text("format-1.md")
    #expect(RowStore.lengthLimit == 1 << 31 - 2 && text.contains("| positions of a user | 2^31 - 2 |"))
    #expect(UserID.byteCountLimit == 255 && text.contains("| bytes of a user id | 255 |"))
    #expect(RowStore.formatVersion == 1)
  }
}
