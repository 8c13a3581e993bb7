/// Single flipped bits anywhere in a database file: whoever reads everything gets all the right rows or an error. The
/// same flips without the layer show that the test can see a wrong answer.

import Testing

@Suite struct DamageTests {
  /// What became of the flips.
  struct Outcome: Equatable {
    var errors = 0
    var unharmed = 0
    var wrong = 0
  }

  @Test(arguments: [11, 12, 13] as [UInt64])
  func `a flipped bit never changes or hides a row`(seed: UInt64) throws {
    let outcome = try flip(bits: 1_000, vfs: "ckvdb", seed: seed)
    #expect(outcome.wrong == 0, "seed \(seed): \(outcome)")
    #expect(outcome.errors > 900, "seed \(seed): \(outcome)")
  }

  @Test func `without the layer the same flips change rows unseen`() throws {
    let outcome = try flip(bits: 200, vfs: "unix", seed: 11)
    #expect(outcome.wrong > 50, "\(outcome)")
  }

  private func flip(bits: Int, vfs: String, seed: UInt64) throws -> Outcome {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, rows: 300, seed: seed)
    // Free pages too: a flip there harms nobody who reads rows.
    try database.run("DELETE FROM tail WHERE seq > 270; PRAGMA wal_checkpoint(TRUNCATE)")
    let expected = try Sample.contents(database)
    database.close()

    let bytes = Bytes.read(path)
    var random = Seeded(seed)
    var outcome = Outcome()
    for _ in 0..<bits {
      let place = Int.random(in: 0..<bytes.count, using: &random)
      Bytes.overwrite(path, at: place, with: bytes[place] ^ 1 << UInt8.random(in: 0..<8, using: &random))
      var found: [UInt8]?
      let code = errorCode { found = try Sample.contents(try TestDatabase(path, vfs: vfs)) }
      Bytes.overwrite(path, at: place, with: bytes[place])
      if code != nil {
        outcome.errors += 1
      } else if found == expected {
        outcome.unharmed += 1
      } else {
        outcome.wrong += 1
      }
    }
    #expect(Bytes.read(path) == bytes, "reading changed the file, seed \(seed)")
    return outcome
  }
}
