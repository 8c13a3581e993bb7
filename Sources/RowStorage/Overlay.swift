/// This process's index of the tail: which rows each user has there, in order of arrival. It is a cache of what the
/// database says, brought up to date inside a transaction and never ahead of the newest commit that this process saw.
/// It holds no payload.

package import CacheTypes

/// What the overlay knows of one tail row.
package struct TailRow {
  // In this order a row takes 32 bytes.
  package var user: UserID
  package var generation: UInt16
  package var position: UInt32
  package var seq: Int64
  /// 0: the user's history up to `position` went straight to blocks.
  package var count: UInt32
  /// The row of the same user before this one, as a place in the queue:
  /// `Overlay.none`, or one that may have been dropped.
  var previous: UInt32 = Overlay.none

  package init(seq: Int64, user: UserID, position: UInt32, count: UInt32, generation: UInt16) {
    self.user = user
    self.generation = generation
    self.position = position
    self.seq = seq
    self.count = count
  }

  package var end: Int { Int(position) + Int(count) }
}

/// Owns the index. Rows stay in order of `seq`; each user's rows are chained from the newest back.
package struct Overlay: ~Copyable {
  static let none = UInt32.max

  /// The first sequence number that has not been looked at.
  package private(set) var nextSeq: Int64 = 1
  package private(set) var foldedSeq: Int64 = 0
  package private(set) var eraseEpoch: Int64 = 0

  private var rows = TailRowQueue()
  /// Rows dropped since the table was made: it may still point at them.
  private var droppedCount = 0
  /// Open addressing: places in `rows` of users' newest rows; at most half full.
  private var table: ContiguousArray<UInt32> = ContiguousArray(repeating: Overlay.none, count: 64)
  private var used = 0

  package init() {}

  package var count: Int { rows.count }
  package var newestSeq: Int64? { rows.last?.seq }

  /// What is remembered elsewhere and may be wrong after changes that this index did not follow.
  package enum Oblivion {
    case nothing
    /// Numbers of histories: somebody committed something other than tail rows, such as another element type.
    case numbers
    /// Numbers, and lengths too: rows were erased, or came and were folded before this index saw them.
    case lengths
  }

  /// What a snapshot is to this index.
  package enum Age { case older, current, newer }

  /// Compares a snapshot with what is indexed.
  package func age(of meta: Meta) -> Age {
    if meta.foldedSeq < foldedSeq || meta.eraseEpoch < eraseEpoch { return .older }
    return meta.foldedSeq == foldedSeq && meta.eraseEpoch == eraseEpoch && meta.nextSeq <= nextSeq ? .current : .newer
  }

  /// Brings the index up to a snapshot that is not older than it. Rows that were folded are handed to `dropped`.
  ///
  /// - Parameter scan: calls its argument with every tail row from a sequence number on, in order.
  /// - Returns: what else must be forgotten now.
  package mutating func advance(
    to meta: Meta, dropped: (TailRow) -> Void,
    scan: (Int64, (TailRow) throws(StoreError) -> Void) throws(StoreError) -> Void
  ) throws(StoreError) -> Oblivion {
    let isReset = meta.eraseEpoch > eraseEpoch
    if isReset {
      self = Overlay()
      eraseEpoch = meta.eraseEpoch
    }
    let hasMissed = meta.foldedSeq >= nextSeq
    if meta.foldedSeq > foldedSeq { drop(through: meta.foldedSeq, dropped) }
    nextSeq = max(nextSeq, foldedSeq + 1)
    var isExplained = true
    if meta.nextSeq > nextSeq {
      var added: ContiguousArray<TailRow> = []
      try scan(nextSeq) { (row) throws(StoreError) in added.append(row) }
      for row in added { insert(row) }
      isExplained = Int64(added.count) == meta.nextSeq - nextSeq
      nextSeq = meta.nextSeq
    }
    return isReset || hasMissed ? .lengths : isExplained ? .nothing : .numbers
  }

  /// Adds rows that this process has just committed, unless a reader has scanned them already.
  package mutating func learn(_ fresh: ContiguousArray<TailRow>, from firstSeq: Int64, nextSeq committed: Int64) {
    guard nextSeq == firstSeq else { return }
    for row in fresh { insert(row) }
    nextSeq = committed
  }

  /// The user's newest row.
  package func newest(of user: UserID) -> TailRow? {
    let place = table[slot(of: user)]
    return rows.contains(place) ? rows[place] : nil
  }

  /// The user's rows with `seq < limit` that end beyond `position`, oldest first; markers of straight runs too.
  package func rows(of user: UserID, below limit: Int64, endingBeyond position: Int) -> [TailRow] {
    var found: [TailRow] = []
    guard count > 0 else { return found }
    var place = table[slot(of: user)]
    while rows.contains(place) {
      let row = rows[place]
      if row.seq < limit {
        if row.end <= position { break }
        found.append(row)
      }
      place = row.previous
    }
    found.reverse()
    return found
  }

  /// Whether the user has rows with `seq < limit` that end beyond `position`.
  package func hasRows(of user: UserID, below limit: Int64, endingBeyond position: Int) -> Bool {
    guard count > 0 else { return false }
    var place = table[slot(of: user)]
    while rows.contains(place) {
      let row = rows[place]
      if row.seq < limit { return row.end > position }
      place = row.previous
    }
    return false
  }

  /// Users with rows up to a number, in the order of the store's rows.
  package func users(through seq: Int64 = .max) -> [UserID] {
    var users: [UserID] = []
    for newest in table where rows.contains(newest) {
      // The user's oldest row tells whether any is old enough: chains run from the newest back.
      var place = newest
      while rows[place].seq > seq, rows.contains(rows[place].previous) { place = rows[place].previous }
      if rows[place].seq <= seq { users.append(rows[place].user) }
    }
    return UserID.sorted(users)
  }

  // MARK: Inside

  private mutating func insert(_ row: TailRow) {
    if (used + 1) * 2 > table.count { rebuild() }
    let slot = slot(of: row.user)
    var row = row
    if table[slot] == Self.none { used += 1 } else { row.previous = table[slot] }
    table[slot] = rows.append(row)
  }

  private mutating func drop(through seq: Int64, _ dropped: (TailRow) -> Void) {
    while let oldest = rows.first, oldest.seq <= seq {
      dropped(oldest)
      rows.removeFirst()
      droppedCount += 1
    }
    foldedSeq = seq
    // The places of dropped rows must be gone from the table before they are given out again.
    if droppedCount > max(1_024, rows.count / 4) || rows.count == 0 { rebuild() }
  }

  /// Makes the table anew from the rows, with room for twice the users.
  private mutating func rebuild() {
    let users = table.reduce(0) { $0 + (rows.contains($1) ? 1 : 0) }
    rows.renumber()
    used = 0
    droppedCount = 0
    var size = 64
    while size < (users + 1) * 4 { size *= 2 }
    if size == table.count {
      for slot in table.indices { table[slot] = Self.none }
    } else {
      table = ContiguousArray(repeating: Self.none, count: size)
    }
    for place in rows.places {
      let slot = slot(of: rows[place].user)
      if table[slot] == Self.none { used += 1 }
      table[slot] = place
    }
  }

  /// Where the user's newest row is entered, or would be. Users whose rows were all dropped do not count.
  private func slot(of user: UserID) -> Int {
    let mask = table.count - 1
    var slot = user.quickHash & mask
    while table[slot] != Self.none, !rows.contains(table[slot]) || rows[table[slot]].user != user {
      slot = (slot + 1) & mask
    }
    return slot
  }
}
