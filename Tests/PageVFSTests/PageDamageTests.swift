/// Damage that no write of ours made: whatever bit of a file is turned, whatever is cut off it, a reader gets an error
/// or the rows that were written, never others and never fewer.

import CSQLite
import Testing

@Suite struct PageDamageTests {
  /// What reading a damaged file can come to.
  private struct Outcomes {
    var errors = 0
    var rightRows = 0
    var silent: [String] = []
  }

  /// Turns one bit after the other at random places, and reads everything each time.
  private func turnBits(_ path: String, flips: Int, seed: UInt64, expected: [UInt8]) -> Outcomes {
    let bytes = Bytes.read(path)
    var random = Seeded(seed)
    var outcomes = Outcomes()
    for _ in 0..<flips {
      let offset = Int.random(in: 0..<bytes.count, using: &random)
      let bit = Int.random(in: 0..<8, using: &random)
      Bytes.overwrite(path, at: offset, with: bytes[offset] ^ 1 << bit)
      var found: [UInt8] = []
      let code = errorCode { found = try Sample.contents(try TestDatabase(path)) }
      if code != nil {
        outcomes.errors += 1
      } else if found == expected {
        outcomes.rightRows += 1
      } else {
        outcomes.silent.append("bit \(bit) of byte \(offset)")
      }
      Bytes.overwrite(path, at: offset, with: bytes[offset])
    }
    return outcomes
  }

  @Test(arguments: [(512, 600), (4096, 1200), (8192, 600)])
  func `every turned bit of a file in which all pages are read is an error`(pageSize: Int, flips: Int) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, pageSize: pageSize, rows: 60)
    let expected = try Sample.contents(database)
    #expect(try database.pragma("freelist_count") == "0")
    database.close()
    let outcomes = turnBits(path, flips: flips, seed: 11, expected: expected)
    #expect(outcomes.silent == [])
    #expect(outcomes.errors == flips)
    try expectSound(path, pageSize: pageSize, contents: expected)
  }

  @Test func `a turned bit in a page that nobody reads leaves the rows right`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, rows: 120)
    try database.run("DELETE FROM block WHERE position % 3 < 2; DELETE FROM tail WHERE seq < 100")
    let expected = try Sample.contents(database)
    #expect(try Int(database.pragma("freelist_count")) ?? 0 > 5)
    database.close()
    let outcomes = turnBits(path, flips: 800, seed: 12, expected: expected)
    #expect(outcomes.silent == [])
    #expect(outcomes.errors > 100)
    #expect(outcomes.rightRows > 50)
    try expectSound(path, pageSize: 4096, contents: expected)
  }

  @Test func `without the layer the same flips return wrong rows`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, rows: 60)
    let expected = try Sample.contents(database)
    database.close()
    let bytes = Bytes.read(path)
    var random = Seeded(13)
    var wrong = 0
    for _ in 0..<50 {
      let offset = Int.random(in: 0..<bytes.count, using: &random)
      Bytes.overwrite(path, at: offset, with: bytes[offset] ^ 4)
      var found = expected
      _ = errorCode { found = try Sample.contents(try TestDatabase(path, vfs: "unix")) }
      if found != expected { wrong += 1 }
      Bytes.overwrite(path, at: offset, with: bytes[offset])
    }
    #expect(wrong > 10)
  }

  @Test func `a file cut under a write-ahead log is an error where its pages are read`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let copy = Directory()
    let copied = copy.file("users.sqlite")
    // A row whose overflow pages end the file, and after it a log that says how many pages there are but holds none of
    // these.
    let database = try Sample.create(path, rows: 1)
    try database.run("INSERT INTO block VALUES (x'01', 7, randomblob(60000)); PRAGMA wal_checkpoint(TRUNCATE)")
    try database.run("INSERT INTO tail(payload) VALUES (x'0203')")
    let expected = try Sample.contents(database)
    let file = Bytes.read(path)
    let log = Bytes.read(path + "-wal")
    #expect(log.count > 4096)
    for pages in 2..<file.count / 4096 {
      Bytes.write(Array(file[..<(pages * 4096)]), to: copied)
      Bytes.write(log, to: copied + "-wal")
      var found: [UInt8] = []
      let code = errorCode { found = try Sample.contents(try TestDatabase(copied)) }
      #expect(code != nil || found == expected, "cut to \(pages) of \(file.count / 4096) pages")
    }
    Bytes.write(file, to: copied)
    Bytes.write(log, to: copied + "-wal")
    #expect(try Sample.contents(try TestDatabase(copied)) == expected)
  }
}
