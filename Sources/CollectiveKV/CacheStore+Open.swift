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
    let parent = FileSystem.directory(of: path)
    let name = path.split(separator: "/").last ?? ""
    let draft = "\(parent)/.\(name).init-\(Hex.encode(randomBytes(8)))"
    try FileSystem.makeDirectory(draft)
    do throws(StoreError) {
      try body(draft)
      try FileSystem.syncDirectory(draft)
      try FileSystem.rename(draft, to: path, replacing: false)
    } catch {
      remove(draft)
      throw error
    }
    try FileSystem.syncDirectory(parent)
  }

  /// Opens a store.
  ///
  /// - Throws: `StoreError.notAStore`, `.newerFormat`, `.damaged`, `.io`, `.busy`.
  /// - Complexity: O(rows in the tail); at most 50,000 after a clean close.
  public static func open(at path: String, options: OpenOptions = .init()) throws(StoreError) -> CacheStore {
    let (path, access) = try place(of: path, options.access)
    let database = "\(path)/\(StoreFiles.database)"
    if let byteCount = options.historyCacheByteCount, byteCount < 0 {
      throw .invalidInput("a cache of \(byteCount) bytes")
    }
    let rows = try RowStore(
      path: database, access: access, syncsCommits: options.durability == .full,
      historyByteLimit: options.historyCacheByteCount)
    let pool = try PoolBlob.open(directory: path, record: BlobRecord(rows.model))
    guard pool.model.shape == rows.model.shape else {
      throw .damaged("\(path)/\(rows.model.name): the shapes of the model are not those that the database names")
    }
    return CacheStore(path: path, rows: rows, pool: pool)
  }

  /// Checks that a store may be at a path, and says how its database can be opened.
  static func place(
    of path: String, _ wanted: OpenOptions.Access
  ) throws(StoreError) -> (path: String, access: RowStore.Access) {
    let path = trimmed(path)
    switch try FileSystem.kind(path) {
    case .directory: break
    case nil: throw .notAStore(path: path, reason: "nothing is there")
    case .link: throw .notAStore(path: path, reason: "it is a symbolic link")
    case .file, .other: throw .notAStore(path: path, reason: "it is not a directory")
    }
    let database = "\(path)/\(StoreFiles.database)"
    guard try FileSystem.kind(database) == .file else {
      throw .notAStore(path: path, reason: "it holds no file \(StoreFiles.database)")
    }
    return (path, try access(path, wanted))
  }

  /// Gives a store another model, after a retrain. Users' rows of the old model are stale from then on: reading them
  /// throws
  /// `StoreError.staleUser`, and an append that sets `resetsStaleUser` starts such a user anew. Store objects that
  /// are open go on reading the old model's users and refuse to append: open the store anew.
  ///
  /// - Throws: `StoreError.invalidModel`, `.notAStore`, `.busy`, `.io`: nothing has changed.
  public static func replaceModel(at path: String, with model: String) throws(StoreError) {
    let store = try open(at: path)
    let record = try PoolBlob.install(modelFile: model, into: store.path)
    let shape = try PoolBlob.open(directory: store.path, record: record).model.shape
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
    try RowStore.create(
      path: database, storeID: randomBytes(16), model: ModelRecord(record, shape: shape), element: options.element,
      columns: columns, pageByteCount: options.pageByteCount)
  }

  /// A reader of a directory that it cannot write to must not need SQLite's shared memory.
  private static func access(_ path: String, _ wanted: OpenOptions.Access) throws(StoreError) -> RowStore.Access {
    guard wanted == .readOnly else { return .readWrite }
    guard !FileSystem.isWritable(path) else { return .readOnly }
    let log = "\(path)/\(StoreFiles.log)"
    let logByteCount = try FileSystem.exists(log) ? try FileSystem.byteCount(log) : 0
    guard logByteCount == 0 else {
      throw .notAStore(
        path: path,
        reason: "the directory cannot be written to and \(StoreFiles.log) holds commits: open it once as its owner")
    }
    return .immutable
  }

  private static func trimmed(_ path: String) -> String {
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
