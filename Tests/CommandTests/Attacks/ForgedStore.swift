/// A small store whose rows a test forges: changed through the store's own page layer, with page and row checksums that
/// match what was made of them, as somebody would who knows the format. What is left to refuse them is their sense.

import CSQLite
import CacheTypes
import CollectiveKV
import Foundation
import Testing

/// A row of the tables `block` or `tail`.
struct ForgedRow {
  var user: UserID
  var position: Int64
  var count: Int64
  var generation: Int64
  var payload: [UInt8]

  /// The checksum that schema/format-1.md asks for.
  var checksum: Int64 {
    func bytes(_ number: Int64, _ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }
    var identity = [1] + bytes(generation, 4) + bytes(position, 8) + bytes(count, 4)
    switch user {
    case .integer(let value): identity += [0] + bytes(value, 8)
    case .bytes(let value): identity += [1] + value
    }
    return Int64(bitPattern: Checksum.xxh3(payload, seed: Checksum.xxh3(identity)))
  }
}

final class ForgedStore {
  let path: String
  private var handle: OpaquePointer?
  private let folder: Folder

  static let bytesUser = UserID.bytes(Array("ab".utf8))

  /// A store to copy: users 7 and x'6162' have blocks, 7 and 9 rows in the tail.
  static func makeOriginal(in folder: Folder) throws {
    let model = try ModelAttack.model(folder, "model.safetensors")
    let store = try CacheStore.create(
      at: folder("original.ckv"), model: model,
      options: .init(keepsItems: true, keepsTimestamps: true, pageByteCount: 4_096, durability: .normal))
    func append(_ user: UserID, _ count: Int) throws {
      let items = (0..<Int64(count)).map { $0 * 3 % 4 }
      try store.append(user: user, items: items, timestamps: items.map { 1_700_000_000 + $0 })
    }
    try append(7, 20)
    try append(bytesUser, 4)
    try store.fold()
    try append(7, 3)
    try append(9, 2)
    try store.close()
  }

  /// A copy, open for forging.
  init(_ folder: Folder) throws {
    self.folder = folder
    path = folder("forged.ckv")
    try? FileManager.default.removeItem(atPath: path)
    try FileManager.default.copyItem(atPath: folder("original.ckv"), toPath: path)
    try #require(
      sqlite3_open_v2("\(path)/users.sqlite", &handle, SQLITE_OPEN_READWRITE, "ckvdb") == SQLITE_OK)
  }

  deinit { close() }

  /// Ends the forging: everything is in the database file.
  func close() {
    sqlite3_close_v2(handle)
    handle = nil
  }

  func sql(_ text: String) throws {
    let code = sqlite3_exec(handle, text, nil, nil, nil)
    try #require(code == SQLITE_OK, "\(text): \(String(cString: sqlite3_errmsg(handle)))")
  }

  /// Replaces a model's layout.
  func layout(_ change: (inout [UInt32]) -> Void) throws {
    var numbers: [UInt32] = []
    try query("SELECT layout FROM model") { statement in
      let bytes = Self.bytes(statement, 0)
      numbers = stride(from: 0, to: bytes.count, by: 4).map { at in
        (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[at + $1]) << ($1 * 8) }
      }
    }
    change(&numbers)
    let bytes = numbers.flatMap { number in (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) } }
    try sql("UPDATE model SET layout = \(Self.literal(bytes))")
  }

  /// Changes the tail row with that number, whose checksum is then that of what it is.
  func tail(_ seq: Int = 3, _ change: (inout ForgedRow) -> Void) throws {
    var row: ForgedRow?
    try query("SELECT user, position, count, generation, payload FROM tail ORDER BY seq LIMIT 1 OFFSET \(seq - 3)") {
      row = ForgedRow(
        user: Self.user($0, 0), position: sqlite3_column_int64($0, 1), count: sqlite3_column_int64($0, 2),
        generation: sqlite3_column_int64($0, 3), payload: Self.bytes($0, 4))
    }
    var forged = try #require(row)
    change(&forged)
    let user =
      switch forged.user {
      case .integer(let value): "\(value)"
      case .bytes(let bytes): Self.literal(bytes)
      }
    try sql(
      """
      UPDATE tail SET user = \(user), position = \(forged.position), count = \(forged.count),
        generation = \(forged.generation), checksum = \(forged.checksum), payload = \(Self.literal(forged.payload))
      WHERE seq = (SELECT seq FROM tail ORDER BY seq LIMIT 1 OFFSET \(seq - 3))
      """)
  }

  /// Changes user 7's only block.
  func block(_ change: (inout ForgedRow) -> Void) throws {
    var row: ForgedRow?
    try query("SELECT place, count, generation, payload FROM block WHERE place >= 0") {
      row = ForgedRow(
        user: 7, position: sqlite3_column_int64($0, 0) & 0xFFFF_FFFF, count: sqlite3_column_int64($0, 1),
        generation: sqlite3_column_int64($0, 2), payload: Self.bytes($0, 3))
    }
    var forged = try #require(row)
    change(&forged)
    try sql(
      """
      UPDATE block SET place = \(7 << 32 | forged.position), count = \(forged.count),
        generation = \(forged.generation), checksum = \(forged.checksum), payload = \(Self.literal(forged.payload))
      WHERE place >= 0
      """)
  }

  private func query(_ text: String, _ body: (OpaquePointer?) -> Void) throws {
    var statement: OpaquePointer?
    try #require(sqlite3_prepare_v2(handle, text, -1, &statement, nil) == SQLITE_OK)
    defer { sqlite3_finalize(statement) }
    while sqlite3_step(statement) == SQLITE_ROW { body(statement) }
  }

  private static func bytes(_ statement: OpaquePointer?, _ column: Int32) -> [UInt8] {
    let start = sqlite3_column_blob(statement, column)
    return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column))))
  }

  private static func user(_ statement: OpaquePointer?, _ column: Int32) -> UserID {
    sqlite3_column_type(statement, column) == SQLITE_INTEGER
      ? .integer(sqlite3_column_int64(statement, column)) : .bytes(bytes(statement, column))
  }

  private static func literal(_ bytes: [UInt8]) -> String { "x'\(Hex.encode(bytes))'" }

  // MARK: What the store says

  /// Everything that reading, and then writing, is refused with, and what verify finds.
  func refusals() -> String {
    close()
    var texts: [String] = []
    func attempt(_ body: () throws -> Void) {
      do { try body() } catch { texts.append("\(error)") }
    }
    for access in [OpenOptions.Access.readOnly, .readWrite] {
      attempt {
        let store = try CacheStore.open(at: path, options: .init(access: access, durability: .normal))
        attempt { try store.forEachHistory { _ in } }
        for user in [7, 9, Self.bytesUser] as [UserID] {
          attempt { _ = try store.entries(of: user) }
          attempt { _ = try store.attend([1, 0, 0.5, -1], user: user) }
        }
        attempt { _ = try store.statistics() }
        attempt { texts += try store.verify().problems.map(\.description) }
        if access == .readWrite {
          attempt { try store.append(user: 7, items: [1], timestamps: [1]) }
          attempt { try store.fold() }
          attempt { _ = try store.vacuum(.init(element: .i8)) }
          attempt { _ = try store.delete(user: 7) }
          attempt { _ = try store.vacuum() }
        }
        attempt { try store.close() }
      }
    }
    return texts.joined(separator: "\n")
  }
}
