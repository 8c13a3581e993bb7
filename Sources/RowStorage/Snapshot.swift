/// Reading: one SQLite transaction, the tail's rows as of that snapshot, a user's blocks and then its tail rows. A
/// snapshot sees every commit that finished before it began, whole, in order, and nothing twice.

package import CacheTypes

/// Which positions of a history are wanted; clamped to what there is.
package enum WantedPositions: Sendable {
  case all
  case range(Range<Int>)
  case last(Int)

  func clamped(to length: Int) -> Range<Int> {
    switch self {
    case .all: 0..<length
    case .range(let range): range.clamped(to: 0..<length)
    case .last(let count): max(0, length - max(0, count))..<length
    }
  }
}

/// Positions of one user.
package struct UserRows: Sendable {
  /// Positions that the user has in this snapshot.
  package var length: Int
  package var positions: Range<Int>
  package var entries: Entries
  /// Whether others read the same columns.
  var isShared = false
}

/// A read transaction. Used by one thread, inside the closure that received it.
package struct Snapshot: ~Copyable {
  let store: RowStore
  let session: ReadSession
  private(set) var meta: Meta
  /// An index of the tail as of this very snapshot, for long scans; otherwise the store's shared one is used, and a
  /// read that finds it ahead moves on to a newer snapshot.
  private(set) var ownOverlay: Overlay?

  fileprivate init(store: RowStore, session: ReadSession, meta: Meta) {
    self.store = store
    self.session = session
    self.meta = meta
  }

  deinit { session.leaveReading() }

  /// Indexes the tail for this snapshot alone.
  fileprivate mutating func keepStill() throws(StoreError) {
    let (meta, session) = (meta, session)
    var overlay = Overlay()
    _ = try overlay.advance(
      to: meta, dropped: { _ in },
      scan: { (first, body) throws(StoreError) in
        try session.scanTail(from: first, below: meta.nextSeq) { (row) throws(StoreError) in try body(row) }
      })
    ownOverlay = consume overlay
  }

  /// Begins again until the snapshot is not older than the shared overlay.
  fileprivate mutating func catchUp() throws(StoreError) {
    while try !store.refresh(to: meta, session) {
      session.endReading()
      meta = try session.beginReading()
    }
  }

  /// The user's length.
  ///
  /// - Throws: `StoreError.unknownUser`, `.staleUser`.
  package mutating func length(of user: UserID) throws(StoreError) -> Int {
    let (length, modelID) = try lengthAndModel(of: user)
    guard modelID == store.modelID else { throw .staleUser(user) }
    return length
  }

  /// The length of a user whose rows may belong to another model.
  package mutating func staleLength(of user: UserID) throws(StoreError) -> Int { try lengthAndModel(of: user).length }

  /// The model that the user's rows belong to.
  mutating func modelID(of user: UserID) throws(StoreError) -> Int64 { try lengthAndModel(of: user).modelID }

  private mutating func lengthAndModel(of user: UserID) throws(StoreError) -> (length: Int, modelID: Int64) {
    while true {
      let block = try session.newestBlock(of: user)
      guard let tail = try tailRows(of: user, endingBeyond: block?.end ?? 0) else { continue }
      guard let generation = tail.last.map({ Int64($0.generation) }) ?? block?.generation else {
        throw .unknownUser(user)
      }
      return (tail.last?.end ?? block!.end, try store.generation(generation, session).modelID)
    }
  }

  /// Reads positions of a user.
  ///
  /// - Parameters:
  ///   - layers: the layers whose columns are filled; the others' stay empty.
  ///   - keepsColumns: whether items and timestamps are filled, where the store keeps them.
  /// - Throws: `StoreError.unknownUser`, `.staleUser`, `.damaged`.
  /// - Complexity: O(n) in the positions from the first wanted one to the end.
  package mutating func read(
    _ user: UserID, _ wanted: WantedPositions = .all, layers: Range<Int>? = nil, keepsColumns: Bool = false
  ) throws(StoreError) -> UserRows {
    try read(user, wanted, layers: layers, keepsColumns: keepsColumns, sharedByteLimit: 0)
  }

  /// - Parameter sharedByteLimit: columns of so many bytes or fewer get memory of their own and no more than they need.
  mutating func read(
    _ user: UserID, _ wanted: WantedPositions, layers: Range<Int>?, keepsColumns: Bool, sharedByteLimit: Int
  ) throws(StoreError) -> UserRows {
    // A statement that still runs would hold on to the snapshot beyond its end.
    defer { session.blocksFromNewest.reset() }
    while true {
      let block = try session.found.startCollecting(user, session)
      guard let tail = try tailRows(of: user, endingBeyond: block?.end ?? 0) else { continue }
      guard let generation = tail.last.map({ Int64($0.generation) }) ?? block?.generation else {
        throw .unknownUser(user)
      }
      let known = try store.generation(generation, session)
      guard known.modelID == store.modelID else { throw .staleUser(user) }
      let length = tail.last?.end ?? block!.end
      let positions = wanted.clamped(to: length)
      // What a file claims is not believed before its rows were found, if it is much.
      let isLong = positions.count > Self.trustedCount
      if isLong {
        try session.found.collect(positions, tail, session)
        try session.found.check(modelID: store.modelID, store, session)
      }
      let columns = keepsColumns ? known.layout.columns : []
      var entries: Entries
      if columns.isEmpty {
        entries = Entries(count: 0, layers: [])
        if Entries.byteCount(store.model.shape, layers: layers, count: positions.count) > sharedByteLimit {
          swap(&entries, &session.spare)
        }
        entries.resize(for: store.model.shape, layers: layers, count: positions.count)
      } else {
        entries = Entries(
          zeroed: store.model.shape, layers: layers, count: positions.count, keepsItems: columns.contains(.items),
          keepsTimestamps: columns.contains(.timestamps))
      }
      if isLong {
        try session.found.unpack(into: &entries, at: -positions.lowerBound, layers: layers, store, session)
      } else {
        try session.found.unpack(
          positions, tail, into: &entries, at: -positions.lowerBound, layers: layers, newestGeneration: known, store,
          session)
      }
      return UserRows(length: length, positions: positions, entries: entries)
    }
  }

  /// Positions that columns are made for before their rows were seen.
  private static let trustedCount = 1 << 18

  /// The first user after `user` that has rows.
  package mutating func user(after user: UserID?, tailUsers: borrowing TailUsers) throws(StoreError) -> UserID? {
    let inBlocks = try session.blockUser(after: user)
    let inTail = tailUsers.first(after: user)
    guard let inBlocks, let inTail else { return inBlocks ?? inTail }
    return min(inBlocks, inTail)
  }

  /// Users with tail rows, as of a snapshot that keeps still.
  package struct TailUsers: ~Copyable {
    let sorted: [UserID]

    fileprivate func first(after user: UserID?) -> UserID? {
      guard let user else { return sorted.first }
      var (low, high) = (0, sorted.count)
      while low < high {
        let middle = (low + high) / 2
        if sorted[middle] <= user { low = middle + 1 } else { high = middle }
      }
      return low < sorted.count ? sorted[low] : nil
    }
  }

  package func tailUsers() -> TailUsers {
    if ownOverlay != nil { return TailUsers(sorted: ownOverlay!.users()) }
    return TailUsers(sorted: store.memory.withLock { $0.overlay.users() })
  }

  // MARK: Inside

  /// Tail rows of the user in this snapshot; `nil` after moving on to a newer snapshot, since the overlay had done so.
  private mutating func tailRows(of user: UserID, endingBeyond position: Int) throws(StoreError) -> [TailRow]? {
    if ownOverlay != nil { return ownOverlay!.rows(of: user, below: meta.nextSeq, endingBeyond: position) }
    let meta = meta
    let rows: [TailRow]? = store.memory.withLock { memory in
      guard memory.overlay.foldedSeq == meta.foldedSeq, memory.overlay.eraseEpoch == meta.eraseEpoch else { return nil }
      return memory.overlay.rows(of: user, below: meta.nextSeq, endingBeyond: position)
    }
    if rows == nil {
      // A statement that still runs would hold on to the old snapshot.
      session.blocksFromNewest.reset()
      session.endReading()
      self.meta = try session.beginReading()
      try catchUp()
    }
    return rows
  }
}

extension RowStore {
  /// Reads positions of a user as of now: `Snapshot.read`, in a transaction of its own.
  package func read(
    _ user: UserID, _ wanted: WantedPositions = .all, layers: Range<Int>? = nil, keepsColumns: Bool = false
  ) throws(StoreError) -> UserRows {
    try withSnapshot { (snapshot) throws(StoreError) in
      try snapshot.read(user, wanted, layers: layers, keepsColumns: keepsColumns)
    }
  }

  /// Runs `body` in a read transaction.
  ///
  /// - Parameter keepsStill: every read sees one and the same commit, however long it takes; costs a scan of the tail.
  package func withSnapshot<Result>(
    keepsStill: Bool = false, _ body: (inout Snapshot) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    try checkPoison()
    return try withReader(keepsSnapshot: true) { (session) throws(StoreError) in
      let meta = try session.beginReading()
      var snapshot = Snapshot(store: self, session: session, meta: meta)
      if keepsStill { try snapshot.keepStill() } else { try snapshot.catchUp() }
      return try body(&snapshot)
    }
  }
}
