/// The one row of the table `meta`: every write transaction reads it first and moves `next_seq` on, so that two states
/// of a store can be told apart and put in order by a single number.

internal import CacheTypes

/// The counters of a store at one commit.
package struct Meta: Equatable {
  /// The generation that new rows are written in.
  package var generation: Int64
  /// The sequence number that the next tail row gets. Never goes back, never skips back to a used number.
  package var nextSeq: Int64
  /// Tail rows up to here are in blocks and gone from the tail.
  package var foldedSeq: Int64
  /// Moves when rows vanish in another way than by folding: whoever indexed the tail must start again.
  package var eraseEpoch: Int64
  /// Whether the write-ahead log is to be emptied: bytes of deleted users may be in it, or vacuum rewrites the file. No
  /// snapshot stands between reads meanwhile.
  package var isErasePending: Bool
  /// Positions of all users.
  package var positions: Int64
  /// Write transactions so far, the one that made the store among them: what the watermark takes down.
  package var commits: Int64

  /// The number of the transaction that makes a store.
  static let firstCommit: Int64 = 1

  package init(
    generation: Int64, nextSeq: Int64, foldedSeq: Int64, eraseEpoch: Int64, isErasePending: Bool, positions: Int64,
    commits: Int64 = 1
  ) {
    self.generation = generation
    self.nextSeq = nextSeq
    self.foldedSeq = foldedSeq
    self.eraseEpoch = eraseEpoch
    self.isErasePending = isErasePending
    self.positions = positions
    self.commits = commits
  }

  /// Rows of the tail, or a little more: a deleted user's numbers count until they are folded over.
  var tailRowCount: Int { Int(nextSeq - 1 - foldedSeq) }

  static let select =
    "SELECT generation, next_seq, folded_seq, erase_epoch, erase_pending, positions, commits FROM meta WHERE id = 1"
  static let update = """
    UPDATE meta SET generation = ?1, next_seq = ?2, folded_seq = ?3, erase_epoch = ?4, erase_pending = ?5,
      positions = ?6, commits = ?7
    WHERE id = 1
    """

  /// Reads the row that `select` returns.
  static func read(_ statement: borrowing Statement) throws(StoreError) -> Meta {
    guard try statement.step() else { throw .damaged("\(statement.path): the table meta has no row") }
    let meta = Meta(
      generation: try statement.integer(0, atLeast: 1, "meta.generation"),
      nextSeq: try statement.integer(1, atLeast: 1, "meta.next_seq"),
      foldedSeq: try statement.integer(2, atLeast: 0, "meta.folded_seq"),
      eraseEpoch: try statement.integer(3, atLeast: 0, "meta.erase_epoch"),
      isErasePending: try statement.integer(4, atLeast: 0, "meta.erase_pending") != 0,
      positions: try statement.integer(5, atLeast: 0, "meta.positions"),
      commits: try statement.integer(6, atLeast: firstCommit, "meta.commits"))
    guard meta.foldedSeq < meta.nextSeq, meta.nextSeq < .max / 2, meta.eraseEpoch < .max / 2, meta.positions < .max / 2,
      meta.commits < .max / 2
    else { throw .damaged("\(statement.path): the counters in meta contradict each other") }
    return meta
  }

  /// Writes the row back.
  func write(_ statement: borrowing Statement) throws(StoreError) {
    let values = [generation, nextSeq, foldedSeq, eraseEpoch, isErasePending ? 1 : 0, positions, commits]
    for (index, value) in values.enumerated() { statement.bind(value, at: Int32(index + 1)) }
    try statement.run()
  }
}
