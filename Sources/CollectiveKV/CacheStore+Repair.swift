/// Repair: what a damaged store still holds whole becomes a new store. The old one is read and otherwise left
/// alone; the new one is made beside its place and renamed there when it is complete and on disk.

internal import CacheTypes
internal import PoolStorage
internal import RowStorage

/// What a repair kept and dropped.
public struct RepairReport: Sendable {
  /// Positions of one user.
  public struct Dropped: Sendable, Hashable {
    public var user: UserID
    public var positions: Range<Int>
  }
  public var users: Int
  public var positions: Int
  public var rows: Int
  /// Positions that rows still name but that could not be kept; at most 10,000 stretches.
  public var dropped: [Dropped]
  /// Users of a model that was replaced: none of their rows is kept.
  public var staleUsers: [UserID]
  /// Whatever else could not be read.
  public var problems: [String]
  /// Positions that the store's own counter has beyond those kept and listed: nobody can say whose they were. Stale
  /// users' are among them.
  public var unnamedPositions: Int

  /// Whether everything was kept.
  public var isWhole: Bool {
    dropped.isEmpty && problems.isEmpty && staleUsers.isEmpty && unnamedPositions == 0
  }
}

extension CacheStore {
  /// Copies what is whole of a damaged store to a new one at `target`, which must not exist. Every user keeps the
  /// positions before the first damaged or missing one.
  ///
  /// - Parameter model: the model file, if the store's own copy of it is damaged; it must be the same model.
  /// - Throws: `StoreError.alreadyExists`; `.damaged` if the model's copy is damaged or the row formats cannot be
  ///   told; `.invalidModel` if `model` is another one; `.busy` if somebody wrote meanwhile. Nothing is left behind.
  /// - Complexity: O(bytes on disk).
  public static func repair(
    at path: String, into target: String, model: String? = nil, progress: ProgressHandler? = nil
  ) throws(StoreError) -> RepairReport {
    let place = try place(of: trimmed(path))
    let access = try access(place, .readOnly, path)
    let salvage = try RowSalvage(path: "\(place)/\(StoreFiles.database)", isImmutable: access == .immutable)
    let record = BlobRecord(salvage.model)
    if model == nil { try PoolBlob.open(directory: place, record: record).verifyAll() }
    var report = SalvageReport()
    try make(at: target) { (draft) throws(StoreError) in
      let source = model ?? "\(place)/\(record.name)"
      let installed = try PoolBlob.install(modelFile: source, into: draft)
      guard installed.digest == record.digest else {
        throw .invalidModel(path: source, reason: "it is not the model of \(path)")
      }
      let database = "\(draft)/\(StoreFiles.database)"
      try FileSystem.makeFile(database)
      let storeID = randomBytes(16)
      try RowStore.create(
        path: database, storeID: storeID, model: salvage.model, element: salvage.element,
        columns: salvage.columns, pageByteCount: salvage.pageByteCount)
      try Watermark.create("\(draft)/\(StoreFiles.watermark)", store: storeID)
      let total = salvage.positionCount
      report = try salvage.salvage(into: database) { done in progress?(done, max(done, total)) }
    }
    let named = report.dropped.reduce(0) { $0 + $1.positions.count }
    return RepairReport(
      users: report.users, positions: report.positions, rows: report.rows,
      dropped: report.dropped.map { .init(user: $0.user, positions: $0.positions) }, staleUsers: report.stale,
      problems: report.problems, unnamedPositions: max(0, salvage.positionCount - report.positions - named))
  }
}
