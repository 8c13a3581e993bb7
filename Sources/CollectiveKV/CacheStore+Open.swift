/// Making and opening stores. A store is made in a directory beside its place and renamed there when it is complete, so
/// that a path holds a whole store or none.

internal import PoolStorage
internal import RowStorage

/// The files of a store.
enum StoreFiles {
  static let database = "users.sqlite"
  static let log = "users.sqlite-wal"
  static let sharedMemory = "users.sqlite-shm"
  static let journal = "users.sqlite-journal"
  static let watermark = "watermark"

  /// The name of the directory that becomes the store `name` when it is complete.
  static func draft(of name: some StringProtocol, _ tag: [UInt8]) -> String { ".\(name).init-\(Hex.encode(tag))" }
  static let draftTagByteCount = 8

  /// Whether a directory's name says that it is a draft.
  static func isDraft(_ name: some StringProtocol) -> Bool {
    let digits = name.utf8.reversed().prefix(2 * draftTagByteCount)
    return name.hasPrefix(".") && name.dropLast(digits.count).hasSuffix(".init-")
      && digits.count == 2 * draftTagByteCount
      && digits.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
  }
}

extension CacheStore {
  /// Makes a store at `path`, which must not exist, and opens it.
  ///
  /// - Parameters:
  ///   - path: becomes a directory that only its owner can enter; its parent must exist.
  ///   - model: a safetensors file with pools, encoder weights and, optionally, item embeddings.
  /// - Throws: `StoreError.alreadyExists`, `.invalidModel` naming the tensor, `.invalidInput`, `.io`. Nothing is left
  ///   behind.
  public static func create(
    at path: String, model: String, options: CreateOptions = .init()
  ) throws(StoreError) -> CacheStore {
    let path = trimmed(path)
    guard RowStore.pageByteCounts.contains(options.pageByteCount) else {
      throw .invalidInput(
        "a page of \(options.pageByteCount) bytes: choose one of "
          + RowStore.pageByteCounts.map(String.init).joined(separator: ", "))
    }
    try make(at: path) { (draft) throws(StoreError) in try fill(draft, model: model, options) }
    return try open(
      at: path,
      options: OpenOptions(
        durability: options.durability, historyCacheByteCount: options.historyCacheByteCount))
  }

  /// Makes a directory at `path`, which must not exist: filled by `body` beside its place, synced, and renamed when it
  /// is complete. A failure leaves nothing behind.
  static func make(at path: String, _ body: (String) throws(StoreError) -> Void) throws(StoreError) {
    let path = trimmed(path)
    guard try !FileSystem.exists(path) else { throw .alreadyExists(path: path) }
    let name = path.split(separator: "/").last ?? ""
    guard !StoreFiles.isDraft(name) else {
      throw .invalidInput("\(path): such a name is what an init that did not finish leaves behind")
    }
    let parent = try FileSystem.resolve(FileSystem.directory(of: path))
    let draft = "\(parent)/\(StoreFiles.draft(of: name, randomBytes(StoreFiles.draftTagByteCount)))"
    try FileSystem.makeDirectory(draft)
    do throws(StoreError) {
      try body(draft)
      try FileSystem.syncDirectory(draft)
      try FileSystem.rename(draft, to: "\(parent)/\(name)", replacing: false)
    } catch {
      remove(draft)
      throw error
    }
    try FileSystem.syncDirectory(parent)
  }

  /// Opens a store.
  ///
  /// - Throws: `StoreError.notAStore`, `.newerFormat`, `.damaged`, `.rolledBack`, `.io`, `.busy`. No file has changed
  ///   then, unless SQLite had to finish what a crash left.
  /// - Complexity: O(rows in the tail); at most 50,000 after a clean close.
  public static func open(at path: String, options: OpenOptions = .init()) throws(StoreError) -> CacheStore {
    let path = trimmed(path)
    if let byteCount = options.historyCacheByteCount, byteCount < 0 {
      throw .invalidInput("a cache of \(byteCount) bytes")
    }
    let place = try place(of: path)
    let database = "\(place)/\(StoreFiles.database)"
    guard try FileSystem.kind(database) == .file else {
      throw .notAStore(path: path, reason: "it holds no file \(StoreFiles.database)")
    }
    let access = try access(place, options.access, path)
    // Before the database: commits that come in between are no loss.
    let watermark = try Watermark(
      "\(path)/\(StoreFiles.watermark)", place: "\(place)/\(StoreFiles.watermark)", access,
      makesMissing: options.acceptsRollback)
    let rows = try RowStore(
      path: "\(path)/\(StoreFiles.database)", place: database, access: access,
      syncsCommits: options.durability == .full, historyByteLimit: options.historyCacheByteCount, watermark: watermark,
      acceptsRollback: options.acceptsRollback)
    let pool = try PoolBlob.open(directory: path, record: BlobRecord(rows.model))
    guard pool.model.shape == rows.model.shape else {
      throw .damaged("\(path)/\(rows.model.name): the shapes of the model are not those that the database names")
    }
    return CacheStore(path: path, place: place, rows: rows, pool: pool)
  }

  /// Gives a store another model, after a retrain. Users' rows of the old model are stale from then on: reading them
  /// throws
  /// `StoreError.staleUser`, and an append that sets `resetsStaleUser` starts such a user anew. Store objects that
  /// are open go on reading the old model's users and refuse to append: open the store anew.
  ///
  /// - Throws: `StoreError.invalidModel`, `.notAStore`, `.busy`, `.io`: nothing has changed.
  public static func replaceModel(at path: String, with model: String) throws(StoreError) {
    let store = try open(at: path)
    let record = try PoolBlob.install(modelFile: model, into: store.place)
    let shape = try PoolBlob.open(directory: store.place, record: record).model.shape
    try store.rows.adopt(ModelRecord(record, shape: shape))
    try store.close()
  }

  // MARK: Inside

  private static func fill(_ directory: String, model: String, _ options: CreateOptions) throws(StoreError) {
    let record = try PoolBlob.install(modelFile: model, into: directory)
    let shape = try PoolBlob.open(directory: directory, record: record).model.shape
    let database = "\(directory)/\(StoreFiles.database)"
    try FileSystem.makeFile(database)
    var columns: KeptColumns = []
    if options.keepsItems { columns.insert(.items) }
    if options.keepsTimestamps { columns.insert(.timestamps) }
    let storeID = randomBytes(RowStore.storeIDByteCount)
    try RowStore.create(
      path: database, storeID: storeID, model: ModelRecord(record, shape: shape), element: options.element,
      columns: columns, pageByteCount: options.pageByteCount)
    try Watermark.create("\(directory)/\(StoreFiles.watermark)", store: storeID)
  }

  /// Where the directory at `path` is, so that no link is followed from here on, nor the working directory asked.
  static func place(of path: String) throws(StoreError) -> String {
    guard try FileSystem.exists(path) else { throw .notAStore(path: path, reason: "nothing is there") }
    let name = path.split(separator: "/").last ?? ""
    guard !StoreFiles.isDraft(name) else {
      throw .notAStore(path: path, reason: "it was left behind by an init that did not finish: remove it, init again")
    }
    let isEntry = name != "" && name != "." && name != ".."
    let place =
      try isEntry ? FileSystem.resolve(FileSystem.directory(of: path)) + "/" + name : FileSystem.resolve(path)
    switch try FileSystem.kind(place) {
    case .directory: return place
    case nil: throw .notAStore(path: path, reason: "nothing is there")
    case .link: throw .notAStore(path: path, reason: "it is a symbolic link")
    case .file, .other: throw .notAStore(path: path, reason: "it is not a directory")
    }
  }

  /// A reader of a directory that it cannot write to must not need SQLite's shared memory.
  static func access(
    _ place: String, _ wanted: OpenOptions.Access, _ path: String
  ) throws(StoreError) -> RowStore.Access {
    guard wanted == .readOnly else { return .readWrite }
    guard !FileSystem.isWritable(place) else { return .readOnly }
    let log = "\(place)/\(StoreFiles.log)"
    let logByteCount = try FileSystem.exists(log) ? try FileSystem.byteCount(log) : 0
    guard logByteCount == 0 else {
      throw .notAStore(
        path: path,
        reason: "the directory cannot be written to and \(StoreFiles.log) holds commits: open it once as its owner")
    }
    return .immutable
  }

  static func trimmed(_ path: String) -> String {
    var path = path
    while path.utf8.count > 1, path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
    return path
  }

  static func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
  }

  /// Removes a directory that was never a store.
  private static func remove(_ directory: String) {
    if let names = try? FileSystem.entries(of: directory) {
      for name in names { try? FileSystem.remove("\(directory)/\(name)") }
    }
    try? FileSystem.removeDirectory(directory)
  }
}

extension BlobRecord {
  init(_ model: ModelRecord) {
    self.init(
      name: model.name, byteCount: model.byteCount, digest: model.digest, chunkChecksums: model.chunkChecksums)
  }
}

extension ModelRecord {
  init(_ blob: BlobRecord, shape: ModelShape) {
    self.init(
      digest: blob.digest, name: blob.name, byteCount: blob.byteCount, chunkChecksums: blob.chunkChecksums,
      shape: shape)
  }
}
