/// Deleted rows leave nothing in the file: every row carries a random marker, pages split and merge over many rounds,
/// and afterwards every marker in the file belongs to a row that is still there. The same run without the layer shows
/// that SQLite alone leaves some.

import Glibc
import Testing

@Suite struct ErasureTests {
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `no byte of a deleted row stays in the file`(seed: UInt64) throws {
    let left = try churn(vfs: "ckvdb", seed: seed)
    #expect(left.found == left.live, "seed \(seed)")
    #expect(left.leaked == 0, "seed \(seed)")
  }

  @Test func `without the layer some stay`() throws {
    #expect(try (1...3).reduce(0) { try $0 + churn(vfs: "unix", seed: $1).leaked } > 0)
  }

  struct Left {
    var live = 0
    /// Markers of live rows that the file holds, each once at least.
    var found = 0
    /// Places in all files that hold a marker of no live row.
    var leaked = 0
  }

  private static let prefix = Array("MARKER:#".utf8)

  /// Inserts, grows, shrinks and deletes rows in both kinds of table at random, then deletes nine rows of ten.
  private func churn(vfs: String, seed: UInt64) throws -> Left {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try TestDatabase(path, vfs: vfs)
    try database.run(
      """
      PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
      CREATE TABLE block(user BLOB, position INTEGER, payload BLOB, PRIMARY KEY(user, position)) WITHOUT ROWID;
      CREATE TABLE tail(seq INTEGER PRIMARY KEY, payload BLOB)
      """)
    var random = Seeded(seed)
    /// Keyed rows by user, and rows in arrival order by seq; the marker of each.
    var blocks: [UInt64: [UInt8]] = [:]
    var tails: [UInt64: [UInt8]] = [:]

    func payload(_ marker: [UInt8]) -> Value {
      .bytes(marker + [UInt8](repeating: 0x55, count: Int.random(in: 0...700, using: &random)))
    }
    func user(_ number: UInt64) -> Value { .bytes(withUnsafeBytes(of: number.bigEndian) { Array($0) }) }
    func change(_ number: UInt64, deleting: Bool) throws {
      let isBlock = number % 3 != 0
      let key = isBlock ? user(number) : .integer(Int64(number))
      if deleting {
        _ = try database.contents(
          isBlock ? "DELETE FROM block WHERE user = ?" : "DELETE FROM tail WHERE seq = ?", [key])
        if isBlock { blocks[number] = nil } else { tails[number] = nil }
      } else {
        let marker = Self.prefix + random.bytes(24)
        _ = try database.contents(
          isBlock ? "REPLACE INTO block VALUES (?, 0, ?)" : "REPLACE INTO tail VALUES (?, ?)", [key, payload(marker)])
        if isBlock { blocks[number] = marker } else { tails[number] = marker }
      }
    }

    for round in 0..<12 {
      try database.run("BEGIN")
      for _ in 0..<250 {
        try change(UInt64.random(in: 0..<1_500, using: &random), deleting: Int.random(in: 0..<5, using: &random) < 2)
      }
      try database.run("COMMIT")
      if round % 3 == 0 { try database.run("PRAGMA wal_checkpoint(TRUNCATE)") }
    }
    try database.run("BEGIN")
    for number in (Array(blocks.keys) + Array(tails.keys)).sorted() where Int.random(in: 0..<10, using: &random) != 0 {
      try change(number, deleting: true)
    }
    try database.run("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()

    if vfs == "ckvdb" { #expect(damagedPages(path) == [], "seed \(seed)") }
    let live = Set(blocks.values).union(tails.values)
    var result = Left(live: live.count)
    var seen: Set<[UInt8]> = []
    for name in directory.names {
      for marker in markers(in: Bytes.read(directory.file(name))) {
        if live.contains(marker) { seen.insert(marker) } else { result.leaked += 1 }
      }
    }
    result.found = seen.count
    return result
  }

  /// The 32 bytes at every place of the prefix, or of the last half of it: a leftover's start may be overwritten.
  private func markers(in bytes: [UInt8]) -> [[UInt8]] {
    bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return [] }
      let needle = Array(Self.prefix[4...])
      var found: [[UInt8]] = []
      var at = 0
      while at < raw.count, let hit = memchr(base + at, Int32(needle[0]), raw.count - at) {
        let place = base.distance(to: UnsafeRawPointer(hit))
        at = place + 1
        guard place + 4 <= raw.count, raw[place..<place + 4].elementsEqual(needle) else { continue }
        found.append(Array(raw[max(0, place - 4)..<min(raw.count, place + 28)]))
      }
      return found
    }
  }
}
