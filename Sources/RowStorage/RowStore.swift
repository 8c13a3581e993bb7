/// The rows of a store: users' entries in SQLite, by user and position. It owns the database's connections, the index
/// of the tail and the lengths it remembers. It knows nothing of pools or attention: entries come in and go out.
///
/// Thread-safe. Readers take a connection each; one thread writes at a time (WriterQueue.swift). Other processes may
/// read and write the same database at any time: everything remembered here is checked against the database in each
/// transaction.

package import CacheTypes
internal import Synchronization

/// A model that a database names: what is needed to find and check its blob.
package struct ModelRecord: Sendable, Hashable {
  /// XXH3-128 of the blob.
  package var digest: [UInt8]
  /// The blob's file name.
  package var name: String
  package var byteCount: Int
  /// XXH3-64 of each 64 KiB, little-endian.
  package var chunkChecksums: [UInt8]
  package var shape: ModelShape

  package init(digest: [UInt8], name: String, byteCount: Int, chunkChecksums: [UInt8], shape: ModelShape) {
    self.digest = digest
    self.name = name
    self.byteCount = byteCount
    self.chunkChecksums = chunkChecksums
    self.shape = shape
  }
}

/// Owns the database of one store.
package final class RowStore: Sendable {
  /// How the database is opened.
  package enum Access: Sendable { case readWrite, readOnly, immutable }

  /// Positions that one user may have.
  package static let lengthLimit = Int(Int32.max) - 1
  /// Positions that one row may hold.
  static let rowCountLimit = 1 << 16
  /// Bytes of pages that the writing connection keeps.
  static let writeCacheByteCount = 5 << 20

  package static let storeIDByteCount = 16

  /// Names the database in messages.
  package let path: String
  /// Where the database is.
  private let place: String
  package let access: Access
  /// The model that this object serves: rows of any other one are stale to it.
  package let model: ModelRecord
  let modelID: Int64
  /// The generation of new rows when this object was made.
  let openedGeneration: Int64
  let syncsCommits: Bool
  private let historyByteLimit: Int?
  /// Bytes of decoded histories that are kept unless somebody chose, while the tail is short and while it is long.
  private static let defaultHistoryByteLimit = 12 << 20
  private static let leastHistoryByteLimit = 2 << 20

  /// What is remembered of the database.
  struct Memory: ~Copyable {
    var overlay = Overlay()
    var lengths = UserCache(capacity: 1 << 17)
    var histories: HistoryCache
    var generations: [Int64: Generation] = [:]
    var pageByteCount: Int
    /// Set when a commit failed: nothing may be written or trusted after it.
    var poison: StoreError?

    /// Whether a row's numbers may be others once it is in blocks: they are rounded then, to eight bits or to the
    /// element type of a later generation.
    func foldingChangesNumbers(of modelID: Int64) -> Bool {
      let own = generations.values.filter { $0.modelID == modelID }
      return own.count != 1 || own[0].arrival != own[0].layout.element
    }
  }
  let memory: Mutex<Memory>
  let readers: ReaderPool
  let ledger: CommitLedger
  /// What the watermark said about the database when this object was made; `nil` without one.
  package let watermarkAtOpening: WatermarkState?
  let writerQueue = WriterQueue()
  /// Touched only by the thread that leads `writerQueue`.
  nonisolated(unsafe) private var writer: Writer?

  /// Opens the database of an existing store.
  ///
  /// - Parameters:
  ///   - path: names the file in messages.
  ///   - place: where the file is, if not at `path`; no directory on the way may be a link.
  ///   - historyByteLimit: bytes of decoded histories that are kept; `nil`: what is left of the pages' share.
  ///   - watermark: opened before this call; where there is none, nothing tells lost commits.
  ///   - acceptsRollback: whether a database that its watermark speaks against is opened all the same.
  /// - Throws: `StoreError.rolledBack` among others; no file has changed then.
  package init(
    path: String, place: String? = nil, access: Access, syncsCommits: Bool = true, historyByteLimit: Int? = nil,
    watermark: Watermark? = nil, acceptsRollback: Bool = false
  ) throws(StoreError) {
    let place = place ?? path
    self.path = path
    self.place = place
    self.access = access
    self.syncsCommits = syncsCommits
    self.historyByteLimit = historyByteLimit
    let ledger = CommitLedger(watermark: watermark, recordsUnsynced: !syncsCommits)
    self.ledger = ledger
    var state: WatermarkState?
    if access == .readWrite {
      let session = try WriteSession(
        path: path, place: place, mode: .readWrite, cacheByteCount: Self.writeCacheByteCount, ledger: ledger)
      state = try session.checkWatermark(watermark, acceptsRollback: acceptsRollback)
      unsafe writer = Writer(session: session)
    } else {
      unsafe writer = nil
    }
    let reader = try Self.openReader(path: path, place: place, access: access, ledger)
    if access != .readWrite { state = try reader.checkWatermark(watermark, acceptsRollback: acceptsRollback) }
    watermarkAtOpening = state
    let meta = try reader.beginReading()
    defer { reader.endReading() }
    let pageByteCount = Int(try reader.connection.integer("PRAGMA page_size") ?? 0)
    let generations = try Generation.readAll(reader.connection)
    guard let current = generations[meta.generation] else {
      throw .damaged("\(path): meta names generation \(meta.generation), which does not exist")
    }
    modelID = current.modelID
    openedGeneration = current.id
    columns = current.layout.columns
    model = try ModelRecord.read(reader.connection, id: modelID)
    memory = Mutex(
      Memory(
        histories: HistoryCache(byteLimit: historyByteLimit ?? Self.defaultHistoryByteLimit), generations: generations,
        pageByteCount: pageByteCount))
    readers = ReaderPool(reader)
    _ = try refresh(to: meta, reader)
  }

  // MARK: Sessions

  private static func openReader(
    path: String, place: String, access: Access, _ ledger: CommitLedger
  ) throws(StoreError) -> ReadSession {
    let mode: ConnectionMode = access == .immutable ? .immutable : access == .readOnly ? .readOnly : .readWrite
    return try ReadSession(
      path: path, place: place, mode: mode, cacheByteCount: ReaderPool.leastCacheByteCount, ledger: ledger)
  }

  /// Lends a reading connection.
  ///
  /// - Parameter keepsSnapshot: whether `body` begins with `beginReading`, for which a snapshot may be standing.
  func withReader<Result: ~Copyable>(
    keepsSnapshot: Bool = false, _ body: (ReadSession) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    let (idle, cacheByteCount) = try readers.take()
    var session = idle
    defer { readers.giveBack(session) }
    if session == nil { session = try Self.openReader(path: path, place: place, access: access, ledger) }
    if !keepsSnapshot { session!.endReading() }
    try session!.setCache(byteCount: cacheByteCount)
    return try body(session!)
  }

  // MARK: Writing

  /// The writer, for the thread that leads `writerQueue`.
  func leadingWriter() throws(StoreError) -> Writer {
    guard access == .readWrite else { throw .readOnly }
    try checkPoison()
    guard let writer = unsafe writer else { throw .closed }
    return writer
  }

  /// Runs `body` while nobody else in the process writes. A failed commit is remembered.
  func writing<Result>(_ body: (Writer) throws(StoreError) -> Result) throws(StoreError) -> Result {
    try writerQueue.exclusively { () throws(StoreError) in
      let writer = try leadingWriter()
      do throws(StoreError) { return try body(writer) } catch {
        note(error)
        throw error
      }
    }
  }

  /// Lets go of the writing connection; only the leading thread may.
  func dropWriter() { unsafe writer = nil }

  // MARK: Memory

  /// The optional columns that rows keep: they never change.
  package let columns: KeptColumns

  /// The element type of new rows, as far as this process knows: another one may have migrated the store.
  package var element: ElementType {
    memory.withLock { memory in
      memory.generations.values.filter { $0.modelID == modelID }.max { $0.id < $1.id }?.layout.element ?? .f32
    }
  }

  /// Decoded histories that are kept, and their bytes.
  package var keptHistories: (count: Int, byteCount: Int) {
    memory.withLock { ($0.histories.count, $0.histories.byteCount) }
  }

  /// Bytes of a database page.
  package var pageByteCount: Int { memory.withLock { $0.pageByteCount } }

  /// Brings the overlay up to a snapshot.
  ///
  /// - Returns: false if the snapshot is older than what is already known: the caller needs a newer one.
  func refresh(to meta: Meta, _ session: ReadSession) throws(StoreError) -> Bool {
    try memory.withLock { (memory) throws(StoreError) in
      switch memory.overlay.age(of: meta) {
      case .older: return false
      case .current: return true
      case .newer: break
      }
      // Lengths move from the overlay to the cache as rows are folded.
      var ended: [TailRow] = []
      var isCacheRight = false
      defer {
        if !isCacheRight {
          memory.lengths.removeAll()
          memory.histories.removeAll()
        }
      }
      let oblivion = try memory.overlay.advance(
        to: meta, dropped: { ended.append($0) },
        scan: { (first, body) throws(StoreError) in
          try session.scanTail(from: first, below: meta.nextSeq) { (row) throws(StoreError) in try body(row) }
        })
      if oblivion != .lengths {
        let changesNumbers = !ended.isEmpty && memory.foldingChangesNumbers(of: modelID)
        for row in ended {
          memory.histories.noteFolded(row, changesNumbers: changesNumbers)
          // Users of another model have no length here.
          if memory.generations[Int64(row.generation)]?.modelID == modelID {
            memory.lengths.set(UInt32(row.end), for: row.user)
          }
        }
        if oblivion == .numbers { memory.histories.removeAll() }
        isCacheRight = true
      }
      noteTailRows(&memory)
      return true
    }
  }

  /// Shares out what caches may take between the tail's index and everything else.
  func noteTailRows(_ memory: inout Memory) {
    let isLong = memory.overlay.count > ReaderPool.shortTailRowCount
    readers.note(hasLongTail: isLong)
    if historyByteLimit == nil {
      memory.histories.setLimit(isLong ? Self.leastHistoryByteLimit : Self.defaultHistoryByteLimit)
    }
  }

  /// The generation with this id; read anew from the database if it is not known yet.
  func generation(_ id: Int64, _ session: ReadSession) throws(StoreError) -> Generation {
    if let known = memory.withLock({ $0.generations[id] }) { return known }
    let all = try Generation.readAll(session.connection)
    memory.withLock { $0.generations.merge(all) { known, _ in known } }
    guard let found = all[id] else { throw .damaged("\(path): a row names generation \(id), which does not exist") }
    return found
  }

  /// Throws if an earlier commit failed.
  func checkPoison() throws(StoreError) {
    if let poison = memory.withLock({ $0.poison }) { throw poison }
  }
}

extension ModelRecord {
  /// Reads one row of the table `model`.
  static func read(_ connection: borrowing Connection, id: Int64) throws(StoreError) -> ModelRecord {
    let statement = try connection.prepare("SELECT digest, name, bytes, chunks, layout FROM model WHERE id = ?1")
    statement.bind(id, at: 1)
    guard try statement.step() else { throw .damaged("\(connection.path): model \(id) does not exist") }
    guard let shape = ModelShape(encodedLayout: statement.bytes(4)) else {
      throw .damaged("\(connection.path): the layout of model \(id) cannot be read")
    }
    return ModelRecord(
      digest: statement.bytes(0), name: statement.text(1),
      byteCount: Int(try statement.integer(2, atLeast: 8, "model.bytes")), chunkChecksums: statement.bytes(3),
      shape: shape)
  }

  /// Adds the model, or finds it by its digest.
  static func insert(_ record: ModelRecord, _ connection: borrowing Connection) throws(StoreError) -> Int64 {
    let find = try connection.prepare("SELECT id FROM model WHERE digest = ?1")
    find.bind(copying: record.digest, at: 1)
    if try find.step() { return find.integer(0) }
    let statement = try connection.prepare(
      "INSERT INTO model(digest, name, bytes, chunks, layout) VALUES(?1, ?2, ?3, ?4, ?5) RETURNING id")
    statement.bind(copying: record.digest, at: 1)
    statement.bind(record.name, at: 2)
    statement.bind(record.byteCount, at: 3)
    statement.bind(copying: record.chunkChecksums, at: 4)
    statement.bind(copying: record.shape.encodedLayout, at: 5)
    guard try statement.step() else { throw .damaged("\(connection.path): the model was not entered") }
    let id = statement.integer(0)
    while try statement.step() {}
    return id
  }
}
