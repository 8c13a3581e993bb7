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
    func read(_ offset: Int, _ count: Int) throws -> (Int32, [UInt8]) {
      var buffer = [UInt8](repeating: 0xEE, count: count)
      let code = try database.withFile { $0.pointee.pMethods.pointee.xRead($0, &buffer, Int32(count), sqlite3_int64(offset)) }
      return (code, buffer)
    }
    let sound = try read(4096 * 3 - 10, 300)
    #expect(sound.0 == SQLITE_OK && sound.1 == Array(bytes[4096 * 3 - 10..<4096 * 3 + 290]))
    #expect(try read(4096 * 4 + 3000, 40).0 == SQLiteError.badPage)
    #expect(try read(bytes.count + 8192, 40) == (SQLITE_IOERR | (2 << 8), [UInt8](repeating: 0, count: 40)))
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
    let page = [UInt8](repeating: 7, count: 8192)
    try again.run("BEGIN")
    _ = try again.pragma("page_count")
    for (count, offset) in [(24, 24), (4096, 8000), (1000, 4096), (8192, 8192), (512, 4096), (4096, 0)] {
      let code = try again.withFile { $0.pointee.pMethods.pointee.xWrite($0, page, Int32(count), sqlite3_int64(offset)) }
      #expect(code == SQLiteError.badWrite, "\(count) bytes at \(offset)")
    }
    again.close()
    #expect(Bytes.read(path) == before)
  }
}
