/// Databases through the page layer as its users see them: what is in the file, what is refused, what passes through.

import CPageVFS
import CSQLite
import Glibc
import Testing

@Suite struct PageFileTests {
  @Test(arguments: [512, 1024, 4096, 8192, 16_384, 32_768, 65_536])
  func `every page of a checkpointed file carries its checksum`(pageSize: Int) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, pageSize: pageSize)
    let expected = try Sample.contents(database)
    try database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    #expect(try Sample.contents(database) == expected)
    database.close()
    try expectSound(path, pageSize: pageSize, contents: expected)
  }

  @Test func `rows come back from a file that is opened again`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let expected = try Sample.contents(try Sample.create(path))
    let database = try TestDatabase(path)
    #expect(try Sample.contents(database) == expected)
    try Sample.insert(database, rows: 50, seed: 2)
    #expect(try Sample.contents(database).count > expected.count)
  }

  @Test func `swapped pages are damage`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try Sample.create(path).close()
    var bytes = Bytes.read(path)
    let third = Array(bytes[4096 * 4..<4096 * 5])
    bytes.replaceSubrange(4096 * 4..<4096 * 5, with: bytes[4096 * 9..<4096 * 10])
    bytes.replaceSubrange(4096 * 9..<4096 * 10, with: third)
    Bytes.write(bytes, to: path)
    #expect(damagedPages(path) == [5, 10])
    let code = errorCode { _ = try Sample.contents(try TestDatabase(path)) }
    #expect(code == SQLiteError.badPage)
  }

  @Test func `a page of zeros is damage`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try Sample.create(path).close()
    var bytes = Bytes.read(path)
    bytes.replaceSubrange(4096 * 4..<4096 * 5, with: [UInt8](repeating: 0, count: 4096))
    Bytes.write(bytes, to: path)
    let code = errorCode { _ = try Sample.contents(try TestDatabase(path)) }
    #expect(code == SQLiteError.badPage)
  }

  @Test func `a file cut anywhere is an error`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try Sample.create(path, rows: 60).close()
    let bytes = Bytes.read(path)
    var lengths = [0, 1, 15, 16, 99, 100, 511, 512, 4095]
    for end in stride(from: 4096, through: bytes.count, by: 4096) { lengths += [end - 1, end - 8, end - 2048, end] }
    for length in lengths where length < bytes.count {
      Bytes.write(Array(bytes[..<length]), to: path)
      let code = errorCode { _ = try Sample.contents(try TestDatabase(path)) }
      #expect(code != nil, "cut at \(length) of \(bytes.count)")
    }
  }

  @Test(arguments: [0, 4, 12] as [Int32])
  func `a file with other reserved bytes is refused by name`(reserved: Int32) throws {
    let directory = Directory()
    let path = directory.file("other.sqlite")
    let other = try TestDatabase(path, vfs: "unix", reserved: reserved)
    try other.run("CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)")
    other.close()
    let before = Bytes.read(path)
    let code = errorCode { _ = try TestDatabase(path).contents("SELECT * FROM theirs") }
    #expect(code == SQLITE_NOTADB)
    #expect(errorCode { try TestDatabase(path).run("INSERT INTO theirs VALUES (2)") } == SQLITE_NOTADB)
    #expect(Bytes.read(path) == before)
  }

  @Test func `a new database without reserved bytes is refused`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try TestDatabase(path, reserved: 0)
    #expect(errorCode { try database.run("CREATE TABLE t(x)") } == SQLiteError.badWrite)
    database.close()
    #expect(Bytes.read(path).isEmpty)
  }

  @Test func `files made beside a 0600 database have mode 0600`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    Bytes.write([], to: path)
    chmod(path, 0o600)
    let database = try Sample.create(path)
    #expect([path, path + "-wal", path + "-shm"].map(Bytes.mode) == [0o600, 0o600, 0o600])
    try database.run("PRAGMA journal_mode=DELETE; BEGIN IMMEDIATE; DELETE FROM tail")
    #expect([path, path + "-journal"].map(Bytes.mode) == [0o600, 0o600])
  }

  @Test func `the database is never mapped`() throws {
    let directory = Directory()
    let database = try Sample.create(directory.file("users.sqlite"))
    #expect(try database.pragma("mmap_size=1000000000") == "0")
    #expect(try database.withFile { $0.pointee.pMethods.pointee.iVersion } == 2)
  }

  @Test func `the layer names itself and its base`() throws {
    let directory = Directory()
    #expect(try Sample.create(directory.file("users.sqlite")).vfsName() == "ckvdb/unix")
  }

  @Test func `registering from many threads at once succeeds every time`() async {
    let codes = await withTaskGroup(of: Int32.self) { group in
      for index in 0..<64 {
        group.addTask { ckv_page_vfs_register_over("unix", "ckvdb-many-\(index % 4)") }
      }
      return await group.reduce(into: [Int32]()) { $0.append($1) }
    }
    #expect(codes == [Int32](repeating: SQLITE_OK, count: 64))
    #expect(ckv_page_vfs_register_over("no such base", "ckvdb-x") == SQLITE_NOTFOUND)
    #expect(ckv_page_vfs_register_over(nil, "unix-none") == SQLITE_MISUSE)
    #expect(String(cString: sqlite3_vfs_find(nil).pointee.zName) == "unix")
  }

  @Test func `part of a page is verified with its page`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try Sample.create(path).close()
    var bytes = Bytes.read(path)
    bytes[4096 * 4 + 17] ^= 1
    Bytes.write(bytes, to: path)
    let database = try TestDatabase(path)
    _ = try database.pragma("page_count")
    let sound = try database.readFile(4096 * 3 - 10, 300)
    #expect(sound.0 == SQLITE_OK && sound.1 == Array(bytes[4096 * 3 - 10..<4096 * 3 + 290]))
    #expect(try database.readFile(4096 * 4 + 3000, 40).0 == SQLiteError.badPage)
    #expect(try database.readFile(bytes.count + 8192, 40).0 == SQLiteError.badPage)
  }

  @Test func `a write that is not a whole page is refused`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path)
    try database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    let before = Bytes.read(path)
    let again = try TestDatabase(path)
    _ = try Sample.contents(again)
    try again.run("BEGIN")
    _ = try again.pragma("page_count")
    for (count, offset) in [(24, 24), (4096, 8000), (1000, 4096), (8192, 8192), (512, 4096), (4096, 0)] {
      let code = try again.writeFile([UInt8](repeating: 7, count: count), at: offset)
      #expect(code == SQLiteError.badWrite, "\(count) bytes at \(offset)")
    }
    again.close()
    #expect(Bytes.read(path) == before)
  }

  @Test func `page 1 of an empty file is short, not damaged`() throws {
    let directory = Directory()
    let database = try TestDatabase(directory.file("users.sqlite"))
    #expect(try database.readFile(0, 4096) == (SQLITE_IOERR | (2 << 8), [UInt8](repeating: 0, count: 4096)))
  }

  @Test func `only an announced overwrite may write parts of pages, until the lock goes`() throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    try Sample.create(path, journal: "DELETE").close()
    let bytes = Bytes.read(path)
    let database = try TestDatabase(path)
    #expect(try database.writeFile([1], at: 5000) == SQLiteError.badWrite)
    _ = try database.withFile { $0.pointee.pMethods.pointee.xFileControl($0, SQLITE_FCNTL_OVERWRITE, nil) }
    #expect(try database.writeFile([bytes[5000] ^ 1], at: 5000) == SQLITE_OK)
    #expect(try database.readFile(4096, 4096).0 == SQLITE_OK)
    _ = try database.withFile { $0.pointee.pMethods.pointee.xUnlock($0, SQLITE_LOCK_NONE) }
    #expect(try database.readFile(4096, 4096).0 == SQLiteError.badPage)
    #expect(try database.writeFile([bytes[5000]], at: 5000) == SQLiteError.badWrite)
  }

  @Test func `pages that only look like b-tree pages keep their bytes`() throws {
    // An empty index leaf: everything after its header is a gap.
    var leaf = [UInt8](repeating: 0xA5, count: 512)
    leaf.replaceSubrange(0..<8, with: [10, 0, 0, 0, 0, 0x01, 0xF8, 0])
    // The same as an interior page, whose first four bytes would be the page number 0x02000000.
    var interior = leaf
    interior[0] = 2

    func written(_ page: [UInt8], number: Int, autoVacuum: String) throws -> [UInt8] {
      let directory = Directory()
      let path = directory.file("users.sqlite")
      let database = try TestDatabase(path)
      try database.run("PRAGMA page_size=512; PRAGMA auto_vacuum=\(autoVacuum); CREATE TABLE t(x)")
      #expect(try database.writeFile(page, at: (number - 1) * 512) == SQLITE_OK)
      let back = try database.readFile((number - 1) * 512, 512)
      #expect(back.0 == SQLITE_OK)
      return Array(back.1[..<504])
    }
    let cleared = { (page: [UInt8], header: Int) in page[..<header] + [UInt8](repeating: 0, count: 504 - header) }
    #expect(try written(leaf, number: 2, autoVacuum: "NONE")[...] == cleared(leaf, 8))
    #expect(try written(leaf, number: 2, autoVacuum: "FULL") == Array(leaf[..<504]))
    // A file of so many pages (it has a hole) may have an overflow page that continues at page 0x02000000.
    #expect(try written(interior, number: 5_000_000, autoVacuum: "NONE")[...] == cleared(interior, 12))
    #expect(try written(interior, number: 9_000_000, autoVacuum: "NONE") == Array(interior[..<504]))
    #expect(try written(leaf, number: 9_000_000, autoVacuum: "NONE")[...] == cleared(leaf, 8))
  }
}
