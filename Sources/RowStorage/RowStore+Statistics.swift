/// Counting: what `stat` reports about the rows.

package import CacheTypes

/// Counts of a store's rows at one commit.
package struct RowStatistics: Sendable {
  package var element: ElementType
  package var columns: KeptColumns
  package var pageByteCount: Int
  package var blockCapacity: Int
  package var users: Int
  package var staleUsers: Int
  package var positions: Int
  package var blockRows: Int
  package var tailRows: Int
  package var payloadByteCount: Int
}

extension RowStore {
  /// - Complexity: O(rows): both tables are scanned once.
  package func statistics() throws(StoreError) -> RowStatistics {
    try withSnapshot(keepsStill: true) { (snapshot) throws(StoreError) in
      let session = snapshot.session
      let current = try generation(snapshot.meta.generation, session)
      func count(_ sql: String) throws(StoreError) -> Int {
        let statement = try session.connection.prepare(sql)
        return try statement.step() ? Int(statement.integer(0)) : 0
      }
      var (users, stale, blockRows) = (0, 0, 0)
      let blocks = try session.connection.prepare("SELECT place, generation FROM block ORDER BY place DESC")
      var number: UserNumber?
      while try blocks.step() {
        blockRows += 1
        let next = BlockPlace.number(of: blocks.integer(0))
        guard next != number else { continue }
        // The newest block comes first: it says whose model the history belongs to.
        number = next
        users += 1
        if try generation(blocks.integer(1), session).modelID != modelID { stale += 1 }
      }
      for user in snapshot.tailUsers().sorted where try session.newestBlock(of: user) == nil {
        users += 1
        if try snapshot.modelID(of: user) != modelID { stale += 1 }
      }
      let positions = Int(snapshot.meta.positions)
      // Sizes in bits, the widest there are: the counter is the file's word.
      let shapes = [current.layout.shape, model.shape]
      let widest = max(current.layout.bitsPerPosition, shapes.map { max($0.fullWidth, $0.userWidth) }.max() ?? 0) * 32
      guard !positions.multipliedReportingOverflow(by: max(widest, 1)).overflow else {
        throw .damaged("\(path): meta counts \(positions) positions, more than any store holds")
      }
      return RowStatistics(
        element: current.layout.element, columns: current.layout.columns, pageByteCount: pageByteCount,
        blockCapacity: current.blockCapacity, users: users, staleUsers: stale, positions: positions,
        blockRows: blockRows, tailRows: try count("SELECT count(*) FROM tail"),
        payloadByteCount: current.layout.payloadByteCount(positions: positions))
    }
  }

  /// Hands out every user in order, all as of one commit.
  package func forEachUser(
    _ body: (UserID, inout Snapshot) throws(StoreError) -> Void
  ) throws(StoreError) {
    try withSnapshot(keepsStill: true) { (snapshot) throws(StoreError) in
      let tailUsers = snapshot.tailUsers()
      var user = try snapshot.user(after: nil, tailUsers: tailUsers)
      while let current = user {
        try body(current, &snapshot)
        user = try snapshot.user(after: current, tailUsers: tailUsers)
      }
    }
  }
}
