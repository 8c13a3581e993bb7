/// Verify: every row of both tables is read, checked and unpacked, users' positions must follow one another, and SQLite
/// checks its own structures. One damaged row does not end it.

package import CacheTypes

/// One thing that is wrong with the rows.
package struct RowProblem: Sendable {
  package var user: UserID?
  package var position: Int?
  package var reason: String
}

/// What verify counted and found.
package struct RowVerification: Sendable {
  package var users = 0
  package var positions = 0
  package var rows = 0
  package var problems: [RowProblem] = []
}

extension RowStore {
  /// Problems that are listed one by one; beyond that they are only counted as one more.
  private static let problemLimit = 10_000

  package func verify(progress: (Int, Int) -> Void) throws(StoreError) -> RowVerification {
    try checkPoison()
    return try withReader { (session) throws(StoreError) in
      let meta = try session.beginReading()
      defer { session.endReading() }
      var check = RowCheck(store: self, session: session, meta: meta)
      let blocks = check.counting("SELECT count(*) FROM block")
      check.total = blocks + meta.tailRowCount
      check.checkDatabase()
      check.checkUsers()
      check.checkBlocks(progress)
      check.checkTail(progress)
      if check.found.problems.isEmpty, check.found.positions != Int(meta.positions) {
        check.note("meta counts \(meta.positions) positions, the rows hold \(check.found.positions)")
      }
      return check.found
    }
  }

  /// The state of one verification.
  private struct RowCheck {
    let store: RowStore
    let session: ReadSession
    let meta: Meta
    var found = RowVerification()
    var total = 0
    private var user: UserID?
    private var end = 0
    /// The number whose blocks are being looked at, and whose it is.
    private var number: UserNumber?
    private var owner: UserID?
    /// Ends of users that have tail rows: blocks first, then the tail's.
    private var tailEnds: [UserID: Int] = [:]

    init(store: RowStore, session: ReadSession, meta: Meta) {
      self.store = store
      self.session = session
      self.meta = meta
    }

    mutating func note(_ reason: String, user: UserID? = nil, position: Int? = nil) {
      guard found.problems.count < RowStore.problemLimit else { return }
      found.problems.append(RowProblem(user: user, position: position, reason: reason))
    }

    /// Runs one part; an error of the database is a problem like another.
    private mutating func attempt(_ body: (inout RowCheck) throws(StoreError) -> Void) {
      do throws(StoreError) { try body(&self) } catch {
        note(error.description)
      }
    }

    mutating func counting(_ sql: String) -> Int {
      var count = 0
      attempt { check throws(StoreError) in count = Int(try check.session.connection.integer(sql) ?? 0) }
      return count
    }

    mutating func checkDatabase() {
      attempt { check throws(StoreError) in
        for text in try check.session.connection.texts("PRAGMA integrity_check") where text != "ok" {
          check.note("database: \(text)")
        }
      }
    }

    mutating func checkBlocks(_ progress: (Int, Int) -> Void) {
      scan(.block) { (check, rows) throws(StoreError) in
        let number = BlockPlace.number(of: rows.integer(0))
        guard let user = try check.user(of: number) else { return }
        if user != check.user {
          check.user = user
          check.end = 0
          check.found.users += 1
        }
        let place: RowPlace
        do throws(StoreError) { place = try RowPlace(rows, user: user) } catch {
          check.note(error.description, user: user, position: BlockPlace.position(of: rows.integer(0)))
          return
        }
        if place.position != check.end { check.noteGap(place, check.end) }
        check.checkRow(rows, 3, place)
        check.found.positions += place.end - max(check.end, min(place.position, place.end))
        check.end = place.end
        check.advance(progress)
      }
    }

    /// Hands out every row of a table that can be read. A stretch that cannot be, damaged pages for the most, is noted,
    /// and the scan goes on behind it; so is whatever `body` throws for one row.
    private mutating func scan(
      _ table: TableScan.Table, _ body: (inout RowCheck, borrowing Statement) throws(StoreError) -> Void
    ) {
      attempt { check throws(StoreError) in
        let scan = try TableScan(check.session.connection, table)
        try scan.forEach { (rows) throws(StoreError) in
          do throws(StoreError) { try body(&check, rows) } catch {
            guard case .damaged = error else { throw error }
            check.note(error.description)
          }
        } unreadable: { keys, error in
          check.note("\(table.describe(keys)) cannot be read: \(error)")
        }
      }
    }

    /// Whose blocks have this number; `nil` after noting that nobody's have.
    private mutating func user(of number: UserNumber) throws(StoreError) -> UserID? {
      if number != self.number {
        self.number = number
        owner = try session.user(of: number)
        if owner == nil { note("blocks of user number \(number.value), which the table user does not have") }
      }
      return owner
    }

    /// Every row of `user` must be of a user that needs one, and that has blocks.
    mutating func checkUsers() {
      attempt { check throws(StoreError) in
        let rows = try check.session.connection.prepare("SELECT number, user FROM user ORDER BY number")
        while try rows.step() {
          let user = try rows.user(1)
          guard let value = Int32(exactly: rows.integer(0)), value < 0, UserNumber(ownNumberOf: user) == nil else {
            check.note("has the number \(rows.integer(0))", user: user)
            continue
          }
          let key = BlockPlace.key(UserNumber(value), 0)
          if try check.session.blockNumber(from: key)?.value != value {
            check.note("a number without blocks", user: user)
          }
        }
      }
    }

    mutating func checkTail(_ progress: (Int, Int) -> Void) {
      scan(.tail) { (check, rows) throws(StoreError) in
        let row = try check.session.readTailRow(rows)
        let place = RowPlace(row)
        check.noteUnreachable(row)
        var end: Int
        if let known = check.tailEnds[place.user] {
          end = known
        } else {
          let block = try check.session.newestBlock(of: place.user)
          end = block?.end ?? 0
          if block == nil { check.found.users += 1 }
        }
        if place.position > end { check.noteGap(place, end) }
        check.checkRow(rows, 5, place)
        check.found.positions += max(0, place.end - max(end, place.position))
        end = max(end, place.end)
        check.tailEnds[place.user] = end
        check.advance(progress)
      }
    }

    /// Readers look for tail rows between the two counters alone.
    private mutating func noteUnreachable(_ row: TailRow) {
      if row.seq >= meta.nextSeq || row.seq <= meta.foldedSeq {
        note(
          "tail row \(row.seq) is not between meta's folded_seq \(meta.foldedSeq) and next_seq \(meta.nextSeq)",
          user: row.user, position: Int(row.position))
      }
    }

    private mutating func noteGap(_ place: RowPlace, _ end: Int) {
      let reason =
        place.position > end ? "positions \(end) to \(place.position) are missing" : "positions are held twice"
      note(reason, user: place.user, position: place.position)
    }

    private mutating func checkRow(_ rows: borrowing Statement, _ column: Int32, _ place: RowPlace) {
      let expected = rows.integer(column)
      let (store, session) = (store, session)
      let reason: String? = unsafe rows.withBytes(column + 1) { payload in
        guard unsafe RowChecksum.of(place, payload) == expected else { return "the row's checksum does not match" }
        do throws(StoreError) {
          let generation = try store.generation(place.generation, session)
          guard place.count > 0 else { return unsafe payload.isEmpty ? nil : "a marker with a payload" }
          try unsafe generation.codec.check(payload, count: place.count)
          return nil
        } catch { return error.description }
      }
      if let reason { note(reason, user: place.user, position: place.position) }
    }

    private mutating func advance(_ progress: (Int, Int) -> Void) {
      found.rows += 1
      if found.rows % 4_096 == 0 { progress(found.rows, max(total, found.rows)) }
    }
  }
}
