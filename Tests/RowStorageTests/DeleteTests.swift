import CacheTypes
import RowStorage
import Testing

struct DeleteTests {
  @Test(arguments: [false, true])
  func `a deleted user is gone, from blocks and tail, and can start anew`(folds: Bool) throws {
    let sample = try SampleStore()
    let store = try sample.open()
    for user in [UserID.integer(1), 2, .bytes([2])] { try store.append(user, [1, 2, 3, 4, 5, 6]) }
    if folds { try store.fold() }
    for user in [UserID.integer(1), 2, .bytes([2])] { try store.append(user, [7]) }
    let (positions, isErasurePending) = try store.delete(2)
    #expect(positions == 7 && !isErasurePending)
    #expect(throws: StoreError.unknownUser(2)) { try store.read(2) }
    #expect(throws: StoreError.unknownUser(2)) { try store.delete(2) }
    #expect(try store.users() == [1, .bytes([2])])
    #expect(try store.append(2, [9]) == 1)
    #expect(try store.holds(2, [9]))
    #expect(try store.holds(.bytes([2]), [1, 2, 3, 4, 5, 6, 7]))
    #expect(try store.problems() == [])
  }

  @Test func `no byte of a deleted user is left in any file`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let marker: [UInt8] = Array("a user id to be found in files".utf8)
    for round in 0..<40 {
      try store.append(.bytes(marker + [UInt8(round % 5)]), [UInt32(round), 2, 3])
      try store.append(.integer(Int64(round)), [1, 2])
      if round % 7 == 0 { try store.fold() }
    }
    func isLeft() throws -> Bool {
      try ["users.sqlite", "users.sqlite-wal"].contains { name in
        let bytes = try sample.folder.bytes(of: name)
        return bytes.indices.contains { $0 + marker.count <= bytes.count && bytes[$0...].starts(with: marker) }
      }
    }
    #expect(try isLeft())
    for number in 0..<5 {
      #expect(try !store.delete(.bytes(marker + [UInt8(number)])).isErasurePending)
    }
    #expect(try !isLeft())
    #expect(try store.length(of: 7) == 2)
  }

  @Test func `an erasure waits for another's snapshot and is finished later`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(1, [1])
    try store.append(2, [1])
    let side = try SideDatabase(sample.path)
    try side.execute("BEGIN")
    _ = try side.rows("SELECT * FROM meta")
    #expect(try store.delete(1).isErasurePending)
    try side.execute("COMMIT")
    #expect(try side.integer("SELECT erase_pending FROM meta") == 1)
    try store.close()
    #expect(try side.integer("SELECT erase_pending FROM meta") == 0)
    let again = try sample.open()
    #expect(try again.holds(2, [1]))
    #expect(try again.problems() == [])
  }

  @Test func `a delete that is done is no error when another process then holds the write lock`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(1, [1])
    try store.append(2, [1])
    // A writer that comes between cannot be timed from here; a reader and then a writer leave the same state behind.
    let side = try SideDatabase(sample.path)
    try side.execute("BEGIN")
    _ = try side.rows("SELECT * FROM meta")
    #expect(try store.delete(1).isErasurePending)
    try side.execute("COMMIT; BEGIN IMMEDIATE")
    #expect(throws: StoreError.unknownUser(1)) { try store.length(of: 1) }
    try side.execute("ROLLBACK")
    #expect(try !store.delete(2).isErasurePending)
    #expect(try side.integer("SELECT erase_pending FROM meta") == 0)
  }
}
