/// What the store says about itself: its model, its sizes, what vacuum and delete did, what verify found.

/// The model that a store serves.
public struct ModelDescription: Sendable {
  public var shape: ModelShape
  /// XXH3-128 of the pool blob, in hexadecimal.
  public var digest: String
  /// Whether embeddings are rows of the model's `items.embedding`, so that a stream of items can be appended.
  public var takesItems: Bool
  /// Rows of `items.embedding`, if the model has one.
  public var itemCount: Int?
}

/// Counts and sizes of a store.
public struct StoreStatistics: Sendable {
  public var formatVersion: Int
  public var element: ElementType
  public var keepsItems: Bool
  public var keepsTimestamps: Bool
  public var pageByteCount: Int
  /// Positions of a full block.
  public var blockCapacity: Int
  public var users: Int
  public var staleUsers: Int
  public var positions: Int
  public var blockRows: Int
  public var tailRows: Int
  /// Bytes of all files; the parts follow.
  public var storeByteCount: Int
  public var databaseByteCount: Int
  public var logByteCount: Int
  public var poolByteCount: Int
  /// Bytes of the row payloads that the positions need at the least: indices and user parts.
  public var payloadByteCount: Int
  /// Bytes of user parts alone, without indices.
  public var userPartByteCount: Int
  /// Numbers in the full K and V of all positions: two bytes each in f16, four in f32.
  public var fullNumberCount: Int
  public var watermark: WatermarkState

  /// One compression ratio against a full cache in f16 and in f32: bytes kept / bytes of the full K and V.
  public struct Ratio: Sendable {
    public var ofF16: Double
    public var ofF32: Double
  }
  public func ratio(ofBytes byteCount: Int) -> Ratio {
    let full = Double(fullNumberCount)
    return full == 0
      ? Ratio(ofF16: 0, ofF32: 0)
      : Ratio(ofF16: Double(byteCount) / (full * 2), ofF32: Double(byteCount) / (full * 4))
  }
}

/// What vacuum did.
public struct VacuumReport: Sendable {
  public var byteCountBefore: Int
  public var byteCountAfter: Int
  public var foldedRows: Int
  public var reencodedUsers: Int
}

/// What delete did.
public struct DeleteReport: Sendable {
  public var positions: Int
  /// Whether another process's snapshot still holds old pages: the erasure is finished at the next opportunity.
  public var isErasurePending: Bool
}

/// What verify found.
public struct VerifyReport: Sendable {
  /// One thing that is wrong.
  public struct Problem: Sendable, Hashable, CustomStringConvertible {
    /// `nil` if it concerns no single user.
    public var user: UserID?
    public var position: Int?
    public var reason: String
    public var description: String {
      (user.map { "user \($0): " } ?? "") + (position.map { "position \($0): " } ?? "") + reason
    }
  }
  public var users: Int
  public var positions: Int
  public var rows: Int
  public var problems: [Problem]
}

/// Called now and then by long operations: steps done, of how many.
public typealias ProgressHandler = (_ done: Int, _ total: Int) -> Void
