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
      let users = try count("SELECT count(*) FROM (SELECT user FROM block UNION SELECT user FROM tail)")
      let own = "(SELECT id FROM generation WHERE model = \(modelID))"
      let stale = try count(
        """
        SELECT count(*) FROM (SELECT user FROM block WHERE generation NOT IN \(own)
        UNION SELECT user FROM tail WHERE generation NOT IN \(own))
        """)
      let positions = Int(snapshot.meta.positions)
      return RowStatistics(
        element: current.layout.element, columns: current.layout.columns, pageByteCount: pageByteCount,
        blockCapacity: current.blockCapacity, users: users, staleUsers: stale, positions: positions,
        blockRows: try count("SELECT count(*) FROM block"), tailRows: try count("SELECT count(*) FROM tail"),
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
