/// What goes into an append and an attend call, and what comes out.

/// One user's new positions, in order.
public struct AppendRequest: Sendable {
  /// Where the entries come from.
  public enum Source: Sendable {
    /// Embeddings to be encoded: `n x layers x d_e`, row-major.
    case embeddings([Float])
    /// Embeddings that feed every layer alike: `n x d_e`, row-major.
    case sharedEmbeddings([Float])
    /// Items whose embeddings the model brings (`items.embedding`); the request's `items` may stay `nil`.
    case itemEmbeddings([Int64])
    /// Entries that were encoded elsewhere.
    case entries(Entries)
  }

  public var user: UserID
  public var source: Source
  /// Item ids, one per position: needed by interned layers, and by stores that keep items.
  public var items: [Int64]?
  /// One per position: needed by stores that keep timestamps.
  public var timestamps: [Int64]?
  /// The position that the first new one must get; `nil` appends at the end, wherever that is.
  public var expectedPosition: Int?
  /// Whether a user whose rows belong to another model starts anew, its old rows deleted in the same transaction.
  public var resetsStaleUser: Bool

  public init(
    user: UserID, source: Source, items: [Int64]? = nil, timestamps: [Int64]? = nil, expectedPosition: Int? = nil,
    resetsStaleUser: Bool = false
  ) {
    self.user = user
    self.source = source
    self.items = items
    self.timestamps = timestamps
    self.expectedPosition = expectedPosition
    self.resetsStaleUser = resetsStaleUser
  }
}

/// One user's part of entries that were encoded elsewhere for many users, as a GPU hands them over.
public struct AppendRun: Sendable {
  public var user: UserID
  /// How many of the batch's positions are this user's; runs follow one another.
  public var count: Int
  /// The position that the first of them must get; `nil` appends at the end.
  public var expectedPosition: Int?
  /// Whether a user whose rows belong to another model starts anew.
  public var resetsStaleUser: Bool

  public init(user: UserID, count: Int = 1, expectedPosition: Int? = nil, resetsStaleUser: Bool = false) {
    self.user = user
    self.count = count
    self.expectedPosition = expectedPosition
    self.resetsStaleUser = resetsStaleUser
  }
}

/// Queries over one user's history.
public struct AttendRequest: Sendable {
  public var user: UserID
  /// `C x d_k`, row-major.
  public var queries: [Float]
  /// One per query: it sees the positions below this one. `nil`: every query sees all.
  public var positions: [Int]?
  /// What `select` searches for, one per query: `C x d_k` of the searched layer, row-major. Other functions leave it
  /// alone.
  public var selectQueries: [Float]?

  public init(user: UserID, queries: [Float], positions: [Int]? = nil, selectQueries: [Float]? = nil) {
    self.user = user
    self.queries = queries
    self.positions = positions
    self.selectQueries = selectQueries
  }
}

/// The answer to one request of a batch.
public struct AttendResponse: Sendable {
  /// `C x d_v`; empty if the request failed.
  public var output: [Float]
  /// The length of the history that the request saw.
  public var length: Int
  /// Why the request failed: unknown or stale user, damage, a bad query; `nil` if it did not.
  public var error: StoreError?
}

/// Full keys and values.
public struct FullKV: Hashable, Sendable {
  public var positions: Range<Int>
  public var keyWidth: Int
  /// 0 for a key-only layer.
  public var valueWidth: Int
  /// `n x d_k`, row-major.
  public var keys: [Float]
  /// `n x d_v`, row-major; empty for a key-only layer.
  public var values: [Float]
}

/// One user's stored entries, as `forEachHistory` hands them out.
public struct History: Sendable {
  public var user: UserID
  /// Positions that the user has in all.
  public var length: Int
  /// Whether the rows belong to another model than the store's present one: entries are then empty.
  public var isStale: Bool
  /// The positions that `entries` holds.
  public var positions: Range<Int>
  public var entries: Entries
}
