/// Models and entries to store. An entry follows from a number, its tag, so that a test keeps histories as lists of
/// tags.

import CacheTypes
import RowStorage

struct SplitMix64: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

enum Sample {
  static func part(
    _ userWidth: Int, _ poolWidth: Int, _ poolRows: Int, isAdditive: Bool = false, hasRouter: Bool = true
  ) -> PartShape {
    PartShape(
      userWidth: userWidth, poolWidth: poolWidth, poolRows: poolRows, isAdditive: isAdditive, hasRouter: hasRouter)
  }

  /// One layer, two numbers a side.
  static let plain = ModelShape(
    embeddingWidth: 8, layers: [LayerShape(key: part(2, 6, 100), value: part(2, 6, 100), heads: 2)])

  /// So many numbers that a block of a 4 KiB page holds four positions in f32.
  static let wide = ModelShape(
    embeddingWidth: 8, layers: [LayerShape(key: part(13, 3, 50), value: part(12, 4, 9), heads: 1)])

  /// Layers of every kind: two routers, a shared one, key-only, interned keys, additive, no user part, one pool row.
  static let mixed = ModelShape(
    embeddingWidth: 8,
    layers: [
      LayerShape(key: part(3, 5, 1_000), value: part(1, 7, 33), heads: 2),
      LayerShape(key: part(2, 6, 17), value: part(4, 4, 17, hasRouter: false), heads: 4),
      LayerShape(key: part(5, 16, 300), value: nil, heads: 1),
      LayerShape(
        key: part(0, 8, 70_000, hasRouter: false), value: part(2, 8, 2, isAdditive: true), heads: 2),
      LayerShape(key: part(1, 1, 1), value: part(0, 3, 1, hasRouter: false), heads: 1),
    ])

  static func record(_ shape: ModelShape, name: String = "pool-00.safetensors") -> ModelRecord {
    ModelRecord(
      digest: Array(name.utf8.prefix(16)), name: name, byteCount: 4_096, chunkChecksums: [1, 2, 3, 4, 5, 6, 7, 8],
      shape: shape)
  }

  static func mix(_ tag: UInt32, _ salt: Int) -> UInt32 {
    var mixed = (tag &+ UInt32(truncatingIfNeeded: salt) &* 0x9E37_79B1) &* 0x85EB_CA6B
    mixed = (mixed ^ (mixed >> 15)) &* 0xC2B2_AE35
    return mixed ^ (mixed >> 13)
  }

  /// A number that every element type but i8 holds exactly.
  static func number(_ tag: UInt32, _ salt: Int) -> Float { Float(Int(mix(tag, salt) >> 8) % 255 - 127) / 64 }

  /// One position per tag.
  static func entries(_ tags: [UInt32], _ shape: ModelShape, columns: KeptColumns = []) -> Entries {
    var layers: [LayerEntries] = []
    for (number, layer) in shape.layers.enumerated() {
      func indices(_ part: PartShape, _ salt: Int) -> [UInt32] {
        tags.map { mix($0, number * 1_000 + salt) % UInt32(part.poolRows) }
      }
      func numbers(_ width: Int, _ salt: Int) -> [Float] {
        (0..<width).flatMap { dimension in tags.map { Self.number($0, number * 1_000 + salt + dimension) } }
      }
      layers.append(
        LayerEntries(
          keyIndices: indices(layer.key, 1), valueIndices: layer.storesValueIndices ? indices(layer.value!, 2) : [],
          keyUser: numbers(layer.key.userWidth, 100), valueUser: numbers(layer.value?.userWidth ?? 0, 500)))
    }
    return Entries(
      count: tags.count, layers: layers,
      items: columns.contains(.items) ? tags.map { Int64(mix($0, -1)) } : nil,
      timestamps: columns.contains(.timestamps) ? tags.map { 1_700_000_000 + Int64(mix($0, -2) >> 12) } : nil)
  }
}

/// A database of a test's own.
struct SampleStore {
  let folder: ScratchFolder
  let shape: ModelShape
  let columns: KeptColumns
  var path: String { "\(folder.path)/users.sqlite" }

  init(
    _ shape: ModelShape = Sample.wide, element: ElementType = .f32, columns: KeptColumns = [],
    pageByteCount: Int = 4_096
  ) throws {
    folder = try ScratchFolder()
    self.shape = shape
    self.columns = columns
    try FileSystem.makeFile(path)
    try RowStore.create(
      path: path, storeID: Array(0..<16), model: Sample.record(shape), element: element, columns: columns,
      pageByteCount: pageByteCount)
  }

  func open(_ access: RowStore.Access = .readWrite) throws -> RowStore {
    try RowStore(path: path, access: access, syncsCommits: false)
  }
}

extension RowStore {
  @discardableResult
  func append(
    _ user: UserID, _ tags: [UInt32], expecting position: Int? = nil, skipsRepeats: Bool = false, resets: Bool = false
  ) throws -> Int {
    let entries = Sample.entries(tags, model.shape, columns: columns)
    let run = Run(user: user, rows: 0..<tags.count, expectedPosition: position, resetsStaleUser: resets)
    return try append(entries, [run], skipsRepeats: skipsRepeats)[0]
  }

  func read(_ user: UserID, _ wanted: WantedPositions = .all) throws -> UserRows {
    try withSnapshot { (snapshot) throws(StoreError) in try snapshot.read(user, wanted, keepsColumns: true) }
  }

  /// Whether a user's history is exactly that of the tags.
  func holds(_ user: UserID, _ tags: [UInt32]) throws -> Bool {
    do throws(StoreError) {
      return try read(user).entries == Sample.entries(tags, model.shape, columns: columns)
    } catch .unknownUser {
      return tags.isEmpty
    }
  }

  private func read(_ user: UserID) throws(StoreError) -> UserRows {
    try withSnapshot { (snapshot) throws(StoreError) in try snapshot.read(user, keepsColumns: true) }
  }

  /// What attention would get, the optional columns left out.
  func history(_ user: UserID, _ wanted: WantedPositions = .all, layers: Range<Int>? = nil) throws -> UserRows {
    try withHistory(of: user, wanted, layers: layers) { rows in copy rows }
  }

  /// As `holds`, by way of the histories that are kept.
  func serves(_ user: UserID, _ tags: [UInt32]) throws -> Bool {
    do {
      return try history(user).entries.layers == Sample.entries(tags, model.shape).layers
    } catch StoreError.unknownUser {
      return tags.isEmpty
    }
  }

  func length(of user: UserID) throws -> Int {
    try withSnapshot { (snapshot) throws(StoreError) in try snapshot.length(of: user) }
  }

  func users() throws -> [UserID] {
    var users: [UserID] = []
    try forEachUser { (user, _) throws(StoreError) in users.append(user) }
    return users
  }

  /// What verify finds wrong.
  func problems() throws -> [String] { try verify { _, _ in }.problems.map(\.reason) }
}
