/// Databases whose every checksum is right and whose content is not.

import CacheTypes
import CollectiveKV

struct StoreAttack {
  var name: String
  /// What the refusal names.
  var reason: String
  var forge: (ForgedStore) throws -> Void

  init(_ name: String, _ reason: String, _ forge: @escaping (ForgedStore) throws -> Void) {
    (self.name, self.reason, self.forge) = (name, reason, forge)
  }

  func refusal(_ folder: Folder) throws -> String {
    let store = try ForgedStore(folder)
    try forge(store)
    return store.refusals()
  }

  private static func sql(_ name: String, _ reason: String, _ text: String) -> StoreAttack {
    StoreAttack(name, reason) { try $0.sql(text) }
  }

  private static func tail(
    _ name: String, _ reason: String, row: Int = 3, _ change: @escaping (inout ForgedRow) -> Void
  ) -> StoreAttack {
    StoreAttack(name, reason) { try $0.tail(row, change) }
  }

  private static func block(
    _ name: String, _ reason: String, _ change: @escaping (inout ForgedRow) -> Void
  ) -> StoreAttack {
    StoreAttack(name, reason) { try $0.block(change) }
  }

  private static func layout(
    _ name: String, _ reason: String, _ change: @escaping (inout [UInt32]) -> Void
  ) -> StoreAttack {
    StoreAttack(name, reason) { try $0.layout(change) }
  }

  static var all: [StoreAttack] { rows + keys + blocks + counters + descriptions + schemas }

  /// The tail's first row holds 3 positions of user 7 in f16: element, 1 byte of 2-bit indices each for key and value,
  /// 3 numbers each, two integer columns.
  private static var rows: [StoreAttack] {
    [
      tail("a payload of nothing", "user 7, position 20: ") { $0.payload = [] },
      tail("an element that does not exist", "user 7, position 20: ") { $0.payload[0] = 0xFF },
      tail("eight bits where the store has sixteen", "user 7, position 20: ") { $0.payload[0] = 3 },
      tail("thirty-two bits where the store has sixteen", "user 7, position 20: ") { $0.payload[0] = 0 },
      tail("a payload one byte too short", "user 7, position 20: the payload is too short") { $0.payload.removeLast() },
      tail("a payload one byte too long", "user 7, position 20: the payload is too long") { $0.payload.append(0) },
      tail("a key index beyond the pool", "a key index is beyond the pool of layer 0") { $0.payload[1] = 0xFF },
      tail("a value index beyond the pool", "a value index is beyond the pool of layer 0") { $0.payload[2] = 0xFF },
      tail("a number that is infinite", "user 7: position 20: damaged: payload: a number of layer 0 is not finite") {
        $0.payload.replaceSubrange(3..<5, with: [0, 0x7C])
      },
      tail("a number that is none", "user 7: position 20: damaged: payload: a number of layer 0 is not finite") {
        $0.payload.replaceSubrange(9..<11, with: [1, 0x7E])
      },
      tail("items of 65 bits", "user 7, position 20: the payload is too short") { $0.payload[23] = 65 },
      tail("items of 255 bits", "user 7, position 20: the payload is too short") { $0.payload[23] = 255 },
      tail("items of 64 bits that are not there", "user 7, position 20: the payload is too short") {
        $0.payload[23] = 64
      },
      tail("more positions than the payload holds", "user 7, position 20: ") { $0.count = 4 },
      tail("fewer positions than the payload holds", "user 7, position 20: ") { $0.count = 2 },
      tail("as many positions as a row may have", "user 7, position 20: ") { $0.count = 65_536 },
      tail("more positions than a row may have", "position, count or generation is out of range") { $0.count = 65_537 },
      tail("a count that wraps", "position, count or generation is out of range") { $0.count = 1 << 32 | 3 },
      tail("a count below nothing", "tail.count is -1") { $0.count = -1 },
      tail("a marker with a payload", "a marker with a payload") { $0.count = 0 },
      tail("a marker beyond the blocks", "user 7: positions 20 to 1000 are missing") {
        ($0.count, $0.position, $0.payload) = (0, 1_000, [])
      },
      tail("another generation", "names generation 2, which does not exist") { $0.generation = 2 },
      tail("generation 0", "tail.generation is 0") { $0.generation = 0 },
      tail("a generation that wraps", "position, count or generation is out of range") { $0.generation = 65_537 },
    ]
  }

  private static var keys: [StoreAttack] {
    [
      tail("a gap before the row", "user 7: positions 20 to 21 are missing") { $0.position = 21 },
      tail("a gap of two thousand million", "user 7: positions 20 to 2147483646 are missing") {
        $0.position = 2_147_483_646
      },
      tail("a position beyond the limit", "position, count or generation is out of range") { $0.position = 1 << 31 },
      tail("the greatest position", "position, count or generation is out of range") { $0.position = .max },
      tail("a position below nothing", "tail.position is -1") { $0.position = -1 },
      tail("a row without its user's others", "user 8: position 20: positions 0 to 20 are missing") { $0.user = 8 },
      tail("a user id of 256 bytes", "a user id has 256 bytes", row: 4) {
        $0.user = .bytes(Array(repeating: 1, count: 256))
      },
      sql("a user id that is text", "a user id is neither an integer nor bytes", "UPDATE tail SET user = 'seven'"),
      sql("a user id that is a fraction", "a user id is neither an integer nor bytes", "UPDATE tail SET user = 7.5"),
      sql("another user's row", "user 70: position 20: the row's checksum", "UPDATE tail SET user = 70 WHERE user = 7"),
      sql("positions as text", "tail.position is not an integer", "UPDATE tail SET position = 'a'"),
      sql(
        "a row's number beyond the counter", "is not between meta's folded_seq",
        "UPDATE tail SET seq = 4000000000 WHERE user = 9"),
    ]
  }

  private static var blocks: [StoreAttack] {
    [
      block("a block of nothing", "user 7") { ($0.count, $0.payload) = (0, []) },
      block("a block of two thousand million positions", "user 7, position 0: ") { $0.count = 2_147_483_646 },
      block("a block of one position more", "user 7, position 0: ") { $0.count += 1 },
      block("a block that does not begin at 0", "user 7: positions 0 to 5 are missing") { $0.position = 5 },
      block("a block at the last place", "user 7") { $0.position = 0xFFFF_FFFF },
      block("a block below nothing", "user 7, position 0: a block of -3 positions") { $0.count = -3 },
      block("a block in eight bits", "user 7, position 0: ") { $0.payload[0] = 3 },
      block("a block of another generation", "names generation 65535, which does not exist") { $0.generation = 65_535 },
      sql(
        "blocks of nobody", "blocks of user number -9, which the table user does not have",
        "UPDATE block SET place = (-9 << 32) WHERE place < 0"),
      sql(
        "blocks held twice", "positions are held twice",
        """
        INSERT INTO block SELECT place + 3, count, generation, checksum, payload FROM block WHERE place >= 0
        """),
      sql("a number that is somebody's id", "has the number 5", "UPDATE user SET number = 5"),
      sql("a number beyond 32 bits", "has the number -4294967296", "UPDATE user SET number = -4294967296"),
      sql("a number for one that needs none", "user 3: has the number -1", "UPDATE user SET user = 3"),
    ]
  }

  private static var counters: [StoreAttack] {
    [
      sql("no counters", "the table meta has no row", "DELETE FROM meta"),
      sql("the next number is 0", "meta.next_seq is 0", "UPDATE meta SET next_seq = 0"),
      sql("the next number is the greatest", "contradict each other", "UPDATE meta SET next_seq = 9223372036854775807"),
      sql("more is folded than there is", "contradict each other", "UPDATE meta SET folded_seq = next_seq"),
      sql(
        "rows that are folded are there", "is not between meta's folded_seq",
        "UPDATE meta SET folded_seq = next_seq - 1"),
      sql("a negative epoch", "meta.erase_epoch is -1", "UPDATE meta SET erase_epoch = -1"),
      sql("the greatest epoch", "contradict each other", "UPDATE meta SET erase_epoch = 9223372036854775807"),
      sql("counters as text", "meta.next_seq is not an integer", "UPDATE meta SET next_seq = 'many'"),
      sql("too few positions", "meta counts 28 positions, the rows hold 29", "UPDATE meta SET positions = 28"),
      sql("positions beyond counting", "more than any store holds", "UPDATE meta SET positions = 2305843009213693952"),
      sql("positions below nothing", "meta.positions is -1", "UPDATE meta SET positions = -1"),
      sql("a generation that is not there", "meta names generation 9", "UPDATE meta SET generation = 9"),
    ]
  }

  private static var descriptions: [StoreAttack] {
    [
      sql("an element beyond a byte", "unknown element type 256", "UPDATE generation SET element = 256"),
      sql("an unknown element", "unknown element type 4", "UPDATE generation SET element = 4"),
      sql("another element", "user 7, position 0: ", "UPDATE generation SET element = 0"),
      sql("unknown columns", "keeps unknown columns", "UPDATE generation SET columns = 4"),
      sql("columns that the rows lack", "user 7", "UPDATE generation SET columns = 0"),
      sql("an unknown payload format", "unknown payload format", "UPDATE generation SET format = 2"),
      sql("a generation beyond 16 bits", "generation 65536 is beyond", "UPDATE generation SET id = 65536"),
      sql("a generation of no model", "generation.model", "UPDATE generation SET model = 5"),
      sql("no model", "generation.model", "DELETE FROM model"),
      sql(
        "a blob's name that leaves the store", "expected the digest's name",
        "UPDATE model SET name = '../../etc/passwd'"),
      sql("a blob's digest of 15 bytes", "expected the digest's name", "UPDATE model SET digest = zeroblob(15)"),
      sql("a blob of nothing", "model.bytes is 0", "UPDATE model SET bytes = 0"),
      sql("a blob of 2^62 bytes", "bytes of checksums for", "UPDATE model SET bytes = 4611686018427387904"),
      sql("a blob without checksums", "0 bytes of checksums for", "UPDATE model SET chunks = x''"),
      sql("a blob's checksum of something else", "has checksum", "UPDATE model SET chunks = zeroblob(length(chunks))"),
      sql("a layout of nothing", "the layout of model 1 cannot be read", "UPDATE model SET layout = x''"),
      layout("a layout that is cut", "the layout of model 1 cannot be read") { $0.removeLast() },
      layout("a layout of too many layers", "the layout of model 1 cannot be read") { $0[1] = 4_097 },
      layout("a layout of no heads", "the layout of model 1 cannot be read") { $0[2] = 0 },
      layout("a layout of a width beyond the limit", "the layout of model 1 cannot be read") { $0[4] = 1 << 20 + 1 },
      layout("a layout of four thousand million rows", "the shapes of the model are not those") { $0[6] = .max },
      layout("a layout of no rows", "the shapes of the model are not those") { $0[6] = 0 },
      StoreAttack("rows of a model of a thousand million numbers", "user 9, position 0: ") { store in
        try store.sql(
          """
          INSERT INTO model SELECT 2, x'\(String(repeating: "00", count: 16))', 'pool-0', 8, x'', layout FROM model;
          UPDATE model SET layout = x'0200000000100000' || CAST('' AS BLOB) WHERE id = 2;
          INSERT INTO generation VALUES(2, 2, 0, 0, 1)
          """)
        // 4,096 layers of d_u = 2^20 on both sides.
        let layer =
          "01000000" + "01000000" + String(repeating: "00001000" + "00000000010000000000000001000000", count: 2)
        try store.sql(
          "UPDATE model SET layout = x'0200000000100000\(String(repeating: layer, count: 4_096))' WHERE id = 2")
        try store.tail(4) { ($0.generation, $0.count, $0.payload) = (2, 65_536, [0]) }
      },
    ]
  }

  private static var schemas: [StoreAttack] {
    [
      sql("a further table", "the schema is not that of format version 1", "CREATE TABLE more(a)"),
      sql(
        "a trigger", "the schema is not that of format version 1",
        "CREATE TRIGGER t AFTER INSERT ON tail BEGIN DELETE FROM block; END"),
      sql("a view", "the schema is not that of format version 1", "CREATE VIEW v AS SELECT * FROM tail"),
      sql("an index", "the schema is not that of format version 1", "CREATE INDEX i ON tail(user)"),
      sql("a further column", "the schema is not that of format version 1", "ALTER TABLE meta ADD COLUMN more"),
      sql(
        "a view in place of a table", "the schema is not that of format version 1",
        "ALTER TABLE tail RENAME TO t; CREATE VIEW tail AS SELECT * FROM t"),
      sql("another application", "belongs to another application", "PRAGMA application_id = 1"),
      sql("a format from the future", "format version 7", "PRAGMA user_version = 7"),
      sql("a format that never was", "format version 0 was never released", "PRAGMA user_version = 0"),
    ]
  }
}
