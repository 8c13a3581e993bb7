/// The database that a salvage fills: rows come in as they were, under the generations and numbers that they had.
/// Nobody else knows it before it is whole, so a commit waits for no disk until the last.

internal import CacheTypes

/// Owns the one connection to a database that is being made.
final class SalvageTarget {
  private let session: WriteSession
  private let insertUser: Statement
  private let insertBlock: Statement

  init(path: String) throws(StoreError) {
    session = try WriteSession(path: path, mode: .readWrite, cacheByteCount: RowStore.writeCacheByteCount)
    insertUser = try session.connection.prepare("INSERT OR IGNORE INTO user(number, user) VALUES(?1, ?2)")
    insertBlock = try session.connection.prepare(
      "INSERT INTO block(place, count, generation, checksum, payload) VALUES(?1, ?2, ?3, ?4, ?5)")
    try session.setSynced(false)
  }

  func begin() throws(StoreError) { try session.connection.execute("BEGIN IMMEDIATE") }

  /// Names the model and its generations by the numbers that rows know them by.
  func setModel(id: Int64, _ generations: [Generation]) throws(StoreError) {
    try session.connection.execute("DELETE FROM generation")
    let rename = try session.connection.prepare("UPDATE model SET id = ?1")
    rename.bind(id, at: 1)
    try rename.run()
    let insert = try session.connection.prepare(
      "INSERT INTO generation(id, model, element, columns, format) VALUES(?1, ?2, ?3, ?4, ?5)")
    for generation in generations.sorted(by: { $0.id < $1.id }) {
      insert.bind(generation.id, at: 1)
      insert.bind(id, at: 2)
      insert.bind(Int64(generation.layout.element.rawValue), at: 3)
      insert.bind(generation.layout.columns.rawValue, at: 4)
      insert.bind(Int64(RowChecksum.payloadFormat), at: 5)
      try insert.run()
    }
  }

  /// Gives a user its number; false if it has another one already.
  func add(_ user: UserID, _ number: UserNumber) throws(StoreError) -> Bool {
    insertUser.bind(Int64(number.value), at: 1)
    insertUser.bind(user, at: 2)
    try insertUser.run()
    return session.connection.changedRowCount == 1
  }

  /// Copies a row of columns place, count, generation, checksum, payload.
  func addBlock(_ row: borrowing Statement) throws(StoreError) {
    for column in 0..<Int32(4) { insertBlock.bind(row.integer(column), at: column + 1) }
    try unsafe row.withBytes(4) { (payload) throws(StoreError) in
      unsafe insertBlock.bind(borrowing: payload, at: 5)
      try insertBlock.run()
    }
  }

  /// Copies a row of columns seq, user, position, count, generation, checksum, payload under another number.
  func addTailRow(_ row: borrowing Statement, seq: Int64) throws(StoreError) {
    session.insertTail.bind(seq, at: 1)
    session.insertTail.bind(try row.user(1), at: 2)
    for column in 2..<Int32(6) { session.insertTail.bind(row.integer(column), at: column + 1) }
    try unsafe row.withBytes(6) { (payload) throws(StoreError) in
      unsafe session.insertTail.bind(borrowing: payload, at: 7)
      try session.insertTail.run()
    }
  }

  /// Positions in the user's blocks.
  func end(of user: UserID) throws(StoreError) -> Int { try session.reading.newestBlock(of: user)?.end ?? 0 }

  /// Commits what is there and goes on.
  func step() throws(StoreError) {
    try session.connection.execute("COMMIT")
    if session.framesInLog >= RowStore.checkpointPageCount {
      _ = try session.connection.checkpoint(truncate: false)
      session.framesInLog = 0
    }
    try begin()
  }

  /// Writes the counters, and all of it to the disk.
  func finish(generation: Int64, nextSeq: Int64, positions: Int) throws(StoreError) {
    let update = try session.connection.prepare("UPDATE meta SET generation = ?1, next_seq = ?2, positions = ?3")
    update.bind(generation, at: 1)
    update.bind(nextSeq, at: 2)
    update.bind(positions, at: 3)
    try update.run()
    try session.connection.execute("COMMIT")
    try session.setSynced(true)
    guard try !session.connection.checkpoint(truncate: true).isBusy else {
      throw .busy("somebody else opened the copy")
    }
  }
}
