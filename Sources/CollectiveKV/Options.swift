/// What a caller chooses: when a store is made, when it is opened, and how an append treats surprises.

/// What is fixed when a store is made.
public struct CreateOptions: Sendable {
  /// How user parts are kept. Pools stay in the element type of the model file.
  public var element: ElementType
  /// Whether the item id of every position is kept beside its entries.
  public var keepsItems: Bool
  /// Whether the timestamp of every position is kept.
  public var keepsTimestamps: Bool
  /// Bytes of a database page: 4,096, 8,192, 16,384, 32,768 or 65,536. Until a vacuum fills pages, a
  /// block of rows takes a ninth of one, in i8 a fifth.
  public var pageByteCount: Int
  public var durability: Durability
  /// As for `OpenOptions`.
  public var historyCacheByteCount: Int?

  public init(
    element: ElementType = .f16, keepsItems: Bool = false, keepsTimestamps: Bool = false,
    pageByteCount: Int = 8_192, durability: Durability = .full, historyCacheByteCount: Int? = nil
  ) {
    self.element = element
    self.keepsItems = keepsItems
    self.keepsTimestamps = keepsTimestamps
    self.pageByteCount = pageByteCount
    self.durability = durability
    self.historyCacheByteCount = historyCacheByteCount
  }
}

/// How a store is opened.
public struct OpenOptions: Sendable {
  public enum Access: Sendable { case readWrite, readOnly }
  public var access: Access
  public var durability: Durability
  /// Bytes of decoded histories that attention and reconstruction keep for the next request of the same user; 0: none.
  /// Each takes 4 bytes per pool index and number, a history up to an eighth of the whole. `nil`: 12 MiB, and 2 MiB
  /// while appends have left more than 100,000 rows to fold, so that a process stays below 64 MiB beside the pool.
  public var historyCacheByteCount: Int?
  /// Whether a store that lacks commits which were made is opened all the same, and one whose watermark is missing or
  /// another store's. Opened for writing it counts as whole from then on; opened for reading nothing changes.
  public var acceptsRollback: Bool

  public init(
    access: Access = .readWrite, durability: Durability = .full, historyCacheByteCount: Int? = nil,
    acceptsRollback: Bool = false
  ) {
    self.access = access
    self.durability = durability
    self.historyCacheByteCount = historyCacheByteCount
    self.acceptsRollback = acceptsRollback
  }
}

/// What a call that returned has survived.
public enum Durability: Sendable {
  /// The end of the process and the loss of power: every commit waits for the disk.
  case full
  /// The end of the process; after a loss of power the last commits may be missing, whole ones, from the end.
  case normal
}

/// What an append does with positions that the user already has.
public enum RepeatPolicy: Sendable {
  /// Any difference between the expected position and the user's length is an error.
  case refuse
  /// Positions below the user's length are skipped, so that an event stream can be replayed; a gap is an error.
  case skip
}

/// What vacuum changes beside folding and giving space back.
public struct VacuumOptions: Sendable {
  /// Re-encodes every row in this element type.
  public var element: ElementType?
  /// Rewrites the database with pages of this size; no other connection may be open.
  public var pageByteCount: Int?

  public init(element: ElementType? = nil, pageByteCount: Int? = nil) {
    self.element = element
    self.pageByteCount = pageByteCount
  }
}
