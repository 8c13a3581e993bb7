/// VACUUM and the two journals, finished, rolled back, failing at every call and cut off at every call: the file that
/// is left always carries its checksums, and always holds the rows from before or from after.

import Testing

@Suite(.serialized) struct VacuumTests {
  /// Page sizes before and after.
  static let sizes = [(4096, 4096), (4096, 8192), (8192, 4096), (4096, 65_536), (65_536, 512), (1024, 16_384)]

  @Test(arguments: ["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"])
  func `vacuum leaves a sound file`(journal: String) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, journal: journal)
    try database.run("DELETE FROM block WHERE position % 3 = 0; DELETE FROM tail WHERE seq % 5 < 3")
    let expected = try Sample.contents(database)
    try database.run("VACUUM")
    #expect(try Sample.contents(database) == expected)
    try Sample.insert(database, rows: 20, seed: 9)
    let after = try Sample.contents(database)
    database.close()
    try expectSound(path, pageSize: 4096, contents: after)
  }

  @Test(arguments: sizes, [2_000, 10])
  func `vacuum changes the page size there and back`(sizes: (Int, Int), cachePages: Int) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    // A cache of few pages makes SQLite write pages before it writes page 1 with the new size.
    let database = try Sample.create(path, pageSize: sizes.0)
    try database.run("PRAGMA cache_size=\(cachePages); DELETE FROM block WHERE position % 3 = 0")
    let expected = try Sample.contents(database)
    let other = try TestDatabase(path)
    #expect(try Sample.contents(other) == expected)
    other.close()
    for size in [sizes.1, sizes.0] {
      try database.run("PRAGMA journal_mode=DELETE; PRAGMA page_size=\(size); VACUUM")
      #expect(damagedPages(path) == [])
      try database.run("PRAGMA journal_mode=WAL")
      #expect(try Sample.contents(database) == expected)
      #expect(try database.pragma("page_size") == String(size))
    }
    try Sample.insert(database, rows: 20, seed: 9)
    let after = try Sample.contents(database)
    database.close()
    try expectSound(path, pageSize: sizes.0, contents: after)
  }

  @Test func `an idle connection follows a new page size`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, journal: "DELETE")
    let expected = try Sample.contents(database)
    let idle = try TestDatabase(path)
    #expect(try Sample.contents(idle) == expected)
    for size in [8192, 512, 65_536] {
      try database.run("PRAGMA page_size=\(size); VACUUM")
      #expect(try Sample.contents(idle) == expected)
      try idle.run("INSERT INTO tail(payload) VALUES (x'01'); DELETE FROM tail WHERE payload = x'01'")
      #expect(damagedPages(path) == [])
    }
  }

  @Test func `an idle connection plays back the journal of a page size that it never saw`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try makeSmall(path, journal: "DELETE")
    let idle = try TestDatabase(path)
    let expected = try Sample.contents(idle)
    try TestDatabase(path).run("PRAGMA page_size=8192; VACUUM")
    // Cut off where the pages of the new size are in the file, and the journal still is too.
    var call = 0
    while true {
      let copy = Bytes.read(path)
      let other = try TestDatabase(path)
      let isCutOff = Faults.failing(at: call, forEver: true) {
        _ = errorCode { try other.run("PRAGMA page_size=1024; VACUUM") }
        other.close()
      }
      try #require(isCutOff)
      if Bytes.mode(path + "-journal") != nil && pageSize(Bytes.read(path)) == 1024 { break }
      Directory.remove(path + "-journal")
      Bytes.write(copy, to: path)
      call += 1
    }
    #expect(try Sample.contents(idle) == expected)
    #expect(try idle.pragma("page_size") == "8192")
    #expect(damagedPages(path) == [])
  }

  @Test func `vacuum of an auto_vacuum database leaves a sound file`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path)
    let expected = try Sample.contents(database)
    try database.run("PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=FULL; PRAGMA page_size=512; VACUUM")
    try database.run("DELETE FROM tail WHERE seq % 2 = 0; INSERT INTO tail SELECT position * 2 + 2, payload FROM block")
    #expect(try database.pragma("auto_vacuum") == "1")
    #expect(
      try database.contents(Sample.everything) == Array(expected.prefix(database.contents(Sample.everything).count)))
    let after = try Sample.contents(database)
    database.close()
    try expectSound(path, pageSize: 512, contents: after)
  }

  @Test func `vacuum of a damaged file does not give damage a checksum`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, journal: "DELETE")
    try database.run("DELETE FROM tail")
    database.close()
    var bytes = Bytes.read(path)
    // A free page: VACUUM itself never reads it, but a rollback would write it back.
    let free = try #require(
      (1...bytes.count / 4096).last { number in
        bytes[(number - 1) * 4096..<number * 4096 - 8].allSatisfy { $0 == 0 }
      })
    bytes[free * 4096 - 100] = 1
    Bytes.write(bytes, to: path)
    #expect(damagedPages(path) == [free])
    #expect(errorCode { try TestDatabase(path).run("PRAGMA page_size=8192; VACUUM") } == SQLiteError.badPage)
    #expect(damagedPages(path) == [free])
  }

  @Test(arguments: ["DELETE", "WAL"])
  func `a transaction that is rolled back leaves a sound file`(journal: String) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, journal: journal)
    let expected = try Sample.contents(database)
    // So few pages that the transaction's pages are in the file before it is rolled back.
    try database.run(
      "PRAGMA cache_size=5; BEGIN; DELETE FROM block WHERE position % 2 = 0; SAVEPOINT inner; DELETE FROM tail")
    try database.run("INSERT INTO block SELECT zeroblob(20), position, payload FROM block; ROLLBACK TO inner; ROLLBACK")
    #expect(try Sample.contents(database) == expected)
    database.close()
    try expectSound(path, pageSize: 4096, contents: expected)
  }

  @Test func `a log that was never checkpointed is recovered`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, rows: 100)
    try database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    try Sample.insert(database, rows: 100, seed: 5)
    try database.run("DELETE FROM tail WHERE seq % 4 = 0")
    let expected = try Sample.contents(database)
    let copy = directory.file("copy.sqlite")
    for suffix in ["", "-wal"] { Bytes.write(Bytes.read(path + suffix), to: copy + suffix) }
    database.closeKeepingLog()
    let recovered = try TestDatabase(copy)
    #expect(try Sample.contents(recovered) == expected)
    recovered.close()
    try expectSound(copy, pageSize: 4096, contents: expected)
  }

  /// What is cut off or fails: SQL, on a database in a journal mode.
  struct Change: CustomTestStringConvertible {
    var sql: String
    var journal: String
    var sizes: [Int]
    var testDescription: String { "\(journal): \(sql)" }
  }

  static let changes = [
    Change(sql: "PRAGMA page_size=8192; VACUUM", journal: "DELETE", sizes: [4096, 8192]),
    Change(sql: "PRAGMA page_size=1024; VACUUM", journal: "DELETE", sizes: [4096, 1024]),
    Change(sql: "PRAGMA page_size=512; VACUUM", journal: "PERSIST", sizes: [4096, 512]),
    Change(sql: "VACUUM", journal: "DELETE", sizes: [4096]),
    Change(sql: "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)", journal: "WAL", sizes: [4096]),
    Change(sql: "DELETE FROM block WHERE position % 2 = 0", journal: "DELETE", sizes: [4096]),
    Change(
      sql: "DELETE FROM block WHERE position % 2 = 0; PRAGMA wal_checkpoint(TRUNCATE)", journal: "WAL", sizes: [4096]),
  ]

  @Test(arguments: changes, [true, false])
  func `a change cut off or failing at any call leaves the rows from before or after`(
    change: Change, forEver: Bool
  ) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try makeSmall(path, journal: change.journal)
    let original = Bytes.read(path)
    let before = try Sample.contents(try TestDatabase(path))
    let changing = try TestDatabase(path)
    try changing.run(change.sql)
    let after = try Sample.contents(changing)
    changing.close()

    var isFinished = false
    var call = 0
    while !isFinished {
      for suffix in ["-journal", "-wal", "-shm"] { Directory.remove(path + suffix) }
      Bytes.write(original, to: path)
      let database = try TestDatabase(path)
      // A cache of few pages: they reach the file early, after their journal was synced.
      try database.run("PRAGMA synchronous=NORMAL; PRAGMA cache_size=4; PRAGMA journal_mode=\(change.journal)")
      isFinished = !Faults.failing(at: call, forEver: forEver) {
        _ = errorCode { try database.run(change.sql) }
        if forEver { database.close() }
      }
      database.close()

      let note: Comment = "call \(call)"
      let reopened = try TestDatabase(path)
      let found = try Sample.contents(reopened)
      #expect(found == before || found == after, note)
      #expect(try reopened.pragma("integrity_check") == "ok", note)
      let size = try #require(Int(reopened.pragma("page_size")))
      #expect(change.sizes.contains(size), note)
      reopened.close()
      #expect(damagedPages(path) == [], note)
      call += 1
    }
    #expect(call > 10, "the change is too small to be cut off anywhere interesting")
  }

  /// A few dozen pages, some of them free.
  private func makeSmall(_ path: String, journal: String) throws {
    let database = try TestDatabase(path)
    try database.run(
      """
      PRAGMA page_size=4096; PRAGMA journal_mode=\(journal); PRAGMA synchronous=OFF;
      CREATE TABLE block(user BLOB, position INTEGER, payload BLOB, PRIMARY KEY(user, position)) WITHOUT ROWID;
      CREATE TABLE tail(seq INTEGER PRIMARY KEY, payload BLOB)
      """)
    try Sample.insert(database, rows: 80, seed: 3)
    try database.run("DELETE FROM tail WHERE seq > 50")
  }
}
