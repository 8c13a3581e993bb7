/// Fuzz target: a whole store. The input changes its database, byte by byte below SQLite or value by value through it;
/// then the checksums of pages and rows are made right again, so that nothing stands between the forger and the code
/// but the code. Whatever is asked of the store ends in an answer or a typed error, and what verify passes can be read.

import CSQLite
import CacheTypes
import CollectiveKV
import Foundation
import PoolStorage

enum StoreTarget {
  private static let pageByteCount = 4_096
  static let users: [UserID] = [7, 9, 5_000_000_000, .bytes(Array("ab".utf8))]

  /// The database of a store with blocks and a tail; its directory holds the blob as well.
  private static let original: [UInt8] = {
    do {
      return try makeOriginal()
    } catch {
      preconditionFailure("no store to begin with: \(error)")
    }
  }()
  private static var path: String { "\(FuzzScratch.path)/store.ckv" }
  private static var database: String { "\(path)/users.sqlite" }

  private static func makeOriginal() throws -> [UInt8] {
    let model = "\(FuzzScratch.path)/model.safetensors"
    var tensors: [(name: String, shape: [Int])] = [("items.embedding", [4, 2])]
    for part in ["key", "value"] {
      tensors += [
        ("layers.0.\(part).pool", [3, 3]), ("layers.0.\(part).projection.bias", [1]),
        ("layers.0.\(part).projection.weight", [1, 2]), ("layers.0.\(part).router.bias", [3]),
        ("layers.0.\(part).router.weight", [3, 2]),
      ]
    }
    var writer = try SafetensorsWriter(
      path: model, tensors: tensors.map { TensorPlan(name: $0.name, dtype: .f32, shape: $0.shape) },
      metadata: ["ckvdb.format": "1", "ckvdb.heads": "1", "ckvdb.input": "item"])
    for tensor in tensors {
      try writer.append((0..<tensor.shape.reduce(1, *)).map { Float($0 * 5 % 7) / 4 - 0.5 })
    }
    try writer.finish()
    let store = try CacheStore.create(
      at: path, model: model,
      options: .init(
        element: .i8, keepsItems: true, keepsTimestamps: true, pageByteCount: pageByteCount, durability: .normal))
    for (number, user) in users.enumerated() {
      try append(user, [120, 4, 7, 3][number], to: store)
      if number == 2 { try store.fold() }
    }
    for user in users.prefix(3) { try append(user, 3, to: store) }
    try store.close()
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: database)))
  }

  private static func append(_ user: UserID, _ count: Int, to store: CacheStore) throws {
    let items = (0..<Int64(count)).map { $0 * 3 % 4 }
    try store.append(user: user, items: items, timestamps: items.map { 1_700_000_000 + $0 })
  }

  static func run(_ bytes: [UInt8]) {
    let original = original
    var input = FuzzBytes(bytes)
    for suffix in ["-wal", "-shm", "-journal"] { unlink(database + suffix) }
    if input.byte() % 2 == 0 {
      _ = FuzzScratch.write(changingBytes(original, &input), to: "store.ckv/users.sqlite")
    } else {
      _ = FuzzScratch.write(original, to: "store.ckv/users.sqlite")
      changeValues(&input)
    }
    use()
  }

  // MARK: Changing

  /// Bytes below SQLite, page checksums made right again.
  private static func changingBytes(_ original: [UInt8], _ input: inout FuzzBytes) -> [UInt8] {
    var bytes = original
    let pageCount = bytes.count / pageByteCount
    while !input.isEmpty {
      let page = input.number(below: pageCount)
      // Half of the changes go to headers, where a page says what it is.
      let place = input.number(below: pageByteCount * 2)
      bytes[page * pageByteCount + (place < pageByteCount ? place : place % 128) % (pageByteCount - 8)] = input.byte()
    }
    for page in 0..<pageCount {
      let start = page * pageByteCount
      let end = start + pageByteCount - 8
      let checksum = Checksum.xxh3(Array(bytes[start..<end]), seed: UInt64(page + 1))
      for byte in 0..<8 { bytes[end + byte] = UInt8(truncatingIfNeeded: checksum >> (byte * 8)) }
    }
    return bytes
  }

  private static let columns: [(table: String, name: String)] = [
    ("tail", "user"), ("tail", "position"), ("tail", "count"), ("tail", "generation"), ("tail", "seq"),
    ("block", "place"), ("block", "count"), ("block", "generation"), ("user", "number"), ("user", "user"),
    ("meta", "generation"), ("meta", "next_seq"), ("meta", "folded_seq"), ("meta", "erase_epoch"),
    ("meta", "erase_pending"), ("meta", "positions"), ("model", "bytes"), ("generation", "element"),
    ("generation", "columns"), ("generation", "format"), ("generation", "model"), ("generation", "id"),
  ]

  /// Values of columns and bytes of payloads, row checksums made right again.
  private static func changeValues(_ input: inout FuzzBytes) {
    var handle: OpaquePointer?
    guard sqlite3_open_v2(database, &handle, SQLITE_OPEN_READWRITE, "ckvdb") == SQLITE_OK else {
      preconditionFailure("the original cannot be opened")
    }
    defer { sqlite3_close_v2(handle) }
    sqlite3_exec(handle, "PRAGMA synchronous = OFF; BEGIN", nil, nil, nil)
    var changeCount = 0
    while !input.isEmpty, changeCount < 16 {
      changeCount += 1
      let choice = Int(input.byte())
      let row = Int(input.byte())
      if choice < 4 * columns.count {
        let column = columns[choice % columns.count]
        // Refused changes, such as of a key that is taken, are none.
        sqlite3_exec(
          handle,
          """
          UPDATE OR IGNORE \(column.table) SET \(column.name) = \(input.integer())
          WHERE rowid = (SELECT rowid FROM \(column.table) LIMIT 1 OFFSET \(row % 8))
          """, nil, nil, nil)
      } else {
        let table = ["tail", "block", "model"][choice % 3]
        let column = table == "model" ? ["layout", "chunks", "digest"][row % 3] : "payload"
        change(column, of: table, row: row % 8, &input, handle)
      }
    }
    makeChecksums("SELECT seq, user, position, count, generation, payload FROM tail", "tail", "seq", handle)
    makeChecksums(
      """
      SELECT place, coalesce((SELECT user.user FROM user WHERE number = place >> 32), place >> 32),
        place & 4294967295, count, generation, payload FROM block
      """, "block", "place", handle)
    sqlite3_exec(handle, "COMMIT", nil, nil, nil)
  }

  /// Cuts, lengthens or changes bytes of one blob.
  private static func change(
    _ column: String, of table: String, row: Int, _ input: inout FuzzBytes, _ handle: OpaquePointer?
  ) {
    rows("SELECT rowid, \(column) FROM \(table) LIMIT 1 OFFSET \(row)", handle) { statement in
      var bytes = blob(statement, 1)
      let action = input.byte()
      switch action % 4 {
      case 0: bytes.removeLast(min(bytes.count, Int(input.byte())))
      case 1: bytes += (0..<Int(input.byte() % 32)).map { _ in input.byte() }
      default:
        for _ in 0...Int(action / 64) where !bytes.isEmpty { bytes[input.number(below: bytes.count)] = input.byte() }
      }
      sqlite3_exec(
        handle,
        "UPDATE \(table) SET \(column) = x'\(Hex.encode(bytes))' WHERE rowid = \(sqlite3_column_int64(statement, 0))",
        nil, nil, nil)
    }
  }

  private static func makeChecksums(_ sql: String, _ table: String, _ key: String, _ handle: OpaquePointer?) {
    rows(sql, handle) { statement in
      func bytes(_ column: Int32, _ count: Int) -> [UInt8] {
        let number = sqlite3_column_int64(statement, column)
        return (0..<count).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
      }
      var identity = [1] + bytes(4, 4) + bytes(2, 8) + bytes(3, 4)
      identity +=
        sqlite3_column_type(statement, 1) == SQLITE_INTEGER ? [0] + bytes(1, 8) : [1] + blob(statement, 1)
      let checksum = Checksum.xxh3(blob(statement, 5), seed: Checksum.xxh3(identity))
      sqlite3_exec(
        handle,
        """
        UPDATE \(table) SET checksum = \(Int64(bitPattern: checksum))
        WHERE \(key) = \(sqlite3_column_int64(statement, 0))
        """, nil, nil, nil)
    }
  }

  private static func rows(_ sql: String, _ handle: OpaquePointer?, _ body: (OpaquePointer?) -> Void) {
    var statement: OpaquePointer?
    guard sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK else { return }
    defer { sqlite3_finalize(statement) }
    while sqlite3_step(statement) == SQLITE_ROW { body(statement) }
  }

  private static func blob(_ statement: OpaquePointer?, _ column: Int32) -> [UInt8] {
    let start = sqlite3_column_blob(statement, column)
    return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column))))
  }

  // MARK: Using

  private static func use() {
    guard let store = try? CacheStore.open(at: path, options: .init(durability: .normal)) else { return }
    let isSound = (try? store.verify().problems.isEmpty) ?? false
    var damage: [String] = []
    func attempt(_ body: () throws -> Void) {
      do { try body() } catch {
        switch error as? StoreError {
        case .damaged, .database, .io: damage.append("\(error)")
        case nil: preconditionFailure("an untyped error: \(error)")
        default: break
        }
      }
    }
    var listed: [UserID] = []
    attempt { try store.forEachHistory { listed.append($0.user) } }
    for user in users + listed.prefix(8) {
      attempt { _ = try store.entries(of: user) }
      attempt { _ = try store.attend([1, 0, 0.5, -1], user: user) }
      attempt { _ = try store.attend([1, 0, 0.5, -1], user: user, .topk(top: 2), positions: [2]) }
    }
    attempt { _ = try store.statistics() }
    precondition(!isSound || damage.isEmpty, "verify passed what cannot be read: \(damage)")
    attempt { try append(7, 2, to: store) }
    attempt { try store.fold() }
    attempt { _ = try store.vacuum(.init(element: .f16)) }
    attempt { _ = try store.delete(user: 9) }
    attempt { _ = try store.verify() }
    attempt { try store.close() }
  }
}
