/// Upkeep: delete, fold, vacuum, verify, statistics.

internal import PoolStorage
internal import RowStorage

extension CacheStore {
  /// Deletes everything stored for a user and erases its bytes from the files.
  ///
  /// The shared pool and the model were trained on users' data and keep that influence.
  ///
  /// - Throws: `StoreError.unknownUser`.
  public func delete(user: UserID) throws(StoreError) -> DeleteReport {
    let (positions, isErasurePending) = try rows.delete(user)
    return DeleteReport(positions: positions, isErasurePending: isErasurePending)
  }

  /// Moves every tail row into blocks now.
  ///
  /// - Returns: rows moved.
  @discardableResult
  public func fold() throws(StoreError) -> Int { try rows.fold() }

  /// Folds everything, writes every history in rows that fill pages, in another element type or page size where asked,
  /// and gives free space back. Readers go on, writers wait. It needs up to three times the store's space while it
  /// runs; a kill at any moment leaves every row in its old place or its new one.
  ///
  /// - Throws: `StoreError.busy` if the page size cannot change because other connections are open; `.invalidInput`
  ///   if a number cannot be held in the new element type.
  public func vacuum(
    _ options: VacuumOptions = .init(), progress: ProgressHandler? = nil
  ) throws(StoreError) -> VacuumReport {
    if let pageByteCount = options.pageByteCount, !RowStore.pageByteCounts.contains(pageByteCount) {
      throw .invalidInput("a page of \(pageByteCount) bytes")
    }
    let before = try fileSizes().reduce(0) { $0 + $1.byteCount }
    let (folded, reencoded) = try rows.vacuum(
      VacuumPlan(element: options.element, pageByteCount: options.pageByteCount)
    ) { done, total in progress?(done, total) }
    let after = try fileSizes().reduce(0) { $0 + $1.byteCount }
    return VacuumReport(
      byteCountBefore: before, byteCountAfter: after, foldedRows: folded, reencodedUsers: reencoded)
  }

  /// Reads and checks everything: blob digest, pages, rows, positions, indices, counts, files.
  ///
  /// - Complexity: O(bytes on disk).
  public func verify(progress: ProgressHandler? = nil) throws(StoreError) -> VerifyReport {
    let checked = try rows.verify { done, total in progress?(done, total) }
    var problems = checked.problems.map {
      VerifyReport.Problem(user: $0.user, position: $0.position, reason: $0.reason)
    }
    do throws(StoreError) { try pool.verifyAll() } catch {
      problems.append(.init(user: nil, position: nil, reason: error.description))
    }
    let watermark = try watermarkState()
    if watermark != .sound { problems.append(.init(user: nil, position: nil, reason: watermark.description)) }
    for file in try fileSizes() where !file.isOurs {
      problems.append(.init(user: nil, position: nil, reason: "\(file.name) does not belong to the store"))
    }
    return VerifyReport(
      users: checked.users, positions: checked.positions, rows: checked.rows, problems: problems)
  }

  /// Counts and sizes.
  ///
  /// - Complexity: O(rows).
  public func statistics() throws(StoreError) -> StoreStatistics {
    let counted = try rows.statistics()
    let files = try fileSizes()
    func byteCount(_ name: String) -> Int { files.first { $0.name == name }?.byteCount ?? 0 }
    let pools = files.filter { $0.name.hasPrefix("pool-") }.reduce(0) { $0 + $1.byteCount }
    return StoreStatistics(
      formatVersion: RowStore.formatVersion, element: counted.element,
      keepsItems: counted.columns.contains(.items), keepsTimestamps: counted.columns.contains(.timestamps),
      pageByteCount: counted.pageByteCount, blockCapacity: counted.blockCapacity, users: counted.users,
      staleUsers: counted.staleUsers, positions: counted.positions, blockRows: counted.blockRows,
      tailRows: counted.tailRows, storeByteCount: files.reduce(0) { $0 + $1.byteCount },
      databaseByteCount: byteCount(StoreFiles.database), logByteCount: byteCount(StoreFiles.log), poolByteCount: pools,
      payloadByteCount: counted.payloadByteCount,
      userPartByteCount: counted.positions * model.shape.userWidth * counted.element.byteCount,
      fullNumberCount: counted.positions * model.shape.fullWidth, watermark: try watermarkState())
  }

  /// What the store's watermark said about its database when this object was made: what was accepted then, if anything.
  public var watermarkAtOpening: WatermarkState { rows.watermarkAtOpening ?? .missing }

  /// What the store's watermark says about its database now: whether commits that were made are lost.
  ///
  /// - Complexity: O(1).
  public func watermarkState() throws(StoreError) -> WatermarkState { try rows.watermarkState() ?? .missing }

  private struct FileSize {
    var name: String
    var byteCount: Int
    var isOurs: Bool
  }

  /// The store's files; SQLite's shared memory is none: it holds nothing that lasts.
  private func fileSizes() throws(StoreError) -> [FileSize] {
    let own = [StoreFiles.database, StoreFiles.log, StoreFiles.journal, StoreFiles.watermark] + (try rows.modelNames())
    var sizes: [FileSize] = []
    for name in try FileSystem.entries(of: place) where name != StoreFiles.sharedMemory {
      // A file may go while the directory is being read: a log that another process emptied.
      guard let byteCount = try? FileSystem.byteCount("\(place)/\(name)") else { continue }
      sizes.append(FileSize(name: name, byteCount: byteCount, isOurs: own.contains(name)))
    }
    return sizes
  }
}
