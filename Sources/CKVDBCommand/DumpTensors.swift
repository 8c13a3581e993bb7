/// Dumps as safetensors files. The header needs every length, which is known only at the end: each column is collected
/// in a file of its own that has no name, and copied behind the header then. One pass, one snapshot, no column in
/// memory.

internal import CacheTypes
internal import CollectiveKV
internal import Glibc
internal import PoolStorage

/// Bytes that are written once and then read once, in a file without a name.
private final class Spool {
  private let file: OpenFile
  private var buffer: [UInt8] = []
  private(set) var byteCount = 0
  private static let bufferByteCount = 1 << 16

  /// - Parameter path: the name that the file has for a moment, beside the file that it is for.
  init(path: String) throws(StoreError) {
    file = try OpenFile(path, .creating)
    try FileSystem.remove(path)
  }

  func append(_ number: some FixedWidthInteger) throws(StoreError) {
    unsafe withUnsafeBytes(of: number.littleEndian) { unsafe buffer.append(contentsOf: $0) }
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  func append(_ numbers: some Sequence<Float>) throws(StoreError) {
    for number in numbers { try append(number.bitPattern) }
  }

  func append(_ bytes: [UInt8]) throws(StoreError) {
    buffer.append(contentsOf: bytes)
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// Appends everything to `writer`.
  func copy(to writer: inout SafetensorsWriter) throws(StoreError) {
    try flush()
    var piece = [UInt8](repeating: 0, count: 1 << 20)
    var done = 0
    while done < byteCount {
      let count = min(piece.count, byteCount - done)
      if count < piece.count { piece.removeLast(piece.count - count) }
      let read = try readPiece(into: &piece, at: done)
      guard read == count else { throw .io(operation: "pread", path: self.file.path, code: EIO) }
      try writer.append(piece)
      done += count
    }
  }

  private func readPiece(into piece: inout [UInt8], at place: Int) throws(StoreError) -> Int {
    var result: Result<Int, StoreError> = .success(0)
    unsafe piece.withUnsafeMutableBytes { bytes in
      do throws(StoreError) { result = .success(try unsafe file.read(into: bytes, at: place)) } catch {
        result = .failure(error)
      }
    }
    return try result.get()
  }

  private func flush() throws(StoreError) {
    var full: [UInt8] = []
    swap(&full, &buffer)
    try unsafe full.span.bytes.withUnsafeBytes { (bytes) throws(StoreError) in try unsafe file.write(bytes) }
    byteCount += full.count
    full.removeAll(keepingCapacity: true)
    swap(&full, &buffer)
  }
}

/// The form that `append --input` takes.
final class TensorDump: DumpSink {
  let columns: DumpColumns
  private let path: String
  private var rowCount = 0
  private enum UserKind { case integers, bytes }
  private var userKind: UserKind?
  private var userByteCount = 0
  private let users: Spool
  private let userEnds: Spool
  private let positions: Spool
  private let items: Spool?
  private let timestamps: Spool?
  private let layers: [LayerSpools]

  private struct LayerSpools {
    var keyIndices: Spool
    var valueIndices: Spool?
    var keyUser: Spool?
    var valueUser: Spool?
  }

  init(_ columns: DumpColumns, path: String) throws(StoreError) {
    try PendingFile.check(path)
    self.columns = columns
    self.path = path
    let spool = { () throws(StoreError) in try Spool(path: PendingFile.temporaryPath(beside: path)) }
    users = try spool()
    userEnds = try spool()
    positions = try spool()
    items = columns.hasItems ? try spool() : nil
    timestamps = columns.hasTimestamps ? try spool() : nil
    var layers: [LayerSpools] = []
    for layer in columns.layers {
      let shape = columns.shape.layers[layer]
      layers.append(
        LayerSpools(
          keyIndices: try spool(), valueIndices: shape.storesValueIndices ? try spool() : nil,
          keyUser: shape.key.userWidth > 0 ? try spool() : nil,
          valueUser: (shape.value?.userWidth ?? 0) > 0 ? try spool() : nil))
    }
    self.layers = layers
  }

  func begin() {}

  func beginUser(_ user: UserID, length: Int, positions: Range<Int>) throws {
    let kind: UserKind
    switch user {
    case .integer: kind = .integers
    case .bytes: kind = .bytes
    }
    guard userKind == nil || userKind == kind else {
      throw StoreError.invalidInput(
        "user \(user): the store holds integer ids and byte ids, which one tensor cannot: dump them with --user")
    }
    userKind = kind
  }

  func write(_ piece: DumpPiece) throws {
    for row in 0..<piece.entries.count {
      switch piece.user {
      case .integer(let id): try users.append(id)
      case .bytes(let bytes):
        try users.append(bytes)
        userByteCount += bytes.count
        try userEnds.append(Int64(userByteCount))
      }
      try positions.append(Int64(piece.firstPosition + row))
      try items?.append(piece.entries.items?[row] ?? 0)
      try timestamps?.append(piece.entries.timestamps?[row] ?? 0)
      for (spools, layer) in zip(layers, columns.layers) {
        let entries = piece.entries.layers[layer]
        try spools.keyIndices.append(entries.keyIndices[row])
        try spools.valueIndices?.append(entries.valueIndices[row])
        try spools.keyUser?.append(piece.userPart(entries.keyUser, row))
        try spools.valueUser?.append(piece.userPart(entries.valueUser, row))
      }
    }
    rowCount += piece.entries.count
  }

  func finish() throws {
    var tensors: [(plan: TensorPlan, spool: Spool)] = []
    func add(_ name: String, _ dtype: TensorDType, _ shape: [Int], _ spool: Spool?) {
      if let spool { tensors.append((TensorPlan(name: name, dtype: dtype, shape: shape), spool)) }
    }
    // Widest numbers first: every tensor starts on a multiple of its numbers' size.
    let hasByteIDs = userKind == .bytes
    add(hasByteIDs ? "user.ends" : "user", .i64, [rowCount], hasByteIDs ? userEnds : users)
    add("position", .i64, [rowCount], positions)
    add("item", .i64, [rowCount], items)
    add("timestamp", .i64, [rowCount], timestamps)
    for (spools, layer) in zip(layers, columns.layers) {
      let shape = columns.shape.layers[layer]
      let name = "layers.\(layer)"
      add("\(name).key.index", .u32, [rowCount], spools.keyIndices)
      add("\(name).value.index", .u32, [rowCount], spools.valueIndices)
      add("\(name).key.user", .f32, [rowCount, shape.key.userWidth], spools.keyUser)
      add("\(name).value.user", .f32, [rowCount, shape.value?.userWidth ?? 0], spools.valueUser)
    }
    if hasByteIDs { add("user.bytes", .u8, [userByteCount], users) }
    var writer = try SafetensorsWriter(path: path, tensors: tensors.map(\.plan), metadata: [:])
    for tensor in tensors { try tensor.spool.copy(to: &writer) }
    try writer.finish()
  }
}

/// Full keys and values of one layer, a tensor or two per user.
final class FullTensorDump: DumpSink {
  let columns: DumpColumns
  private let path: String
  private var rowCounts: [(user: UserID, count: Int)] = []
  private let keys: Spool
  private let values: Spool

  init(_ columns: DumpColumns, path: String) throws(StoreError) {
    try PendingFile.check(path)
    self.columns = columns
    self.path = path
    keys = try Spool(path: PendingFile.temporaryPath(beside: path))
    values = try Spool(path: PendingFile.temporaryPath(beside: path))
  }

  func begin() {}

  func beginUser(_ user: UserID, length: Int, positions: Range<Int>) { rowCounts.append((user, 0)) }

  func write(_ piece: DumpPiece) throws {
    rowCounts[rowCounts.count - 1].count += piece.entries.count
    for full in piece.full {
      try keys.append(full.keys)
      try values.append(full.values)
    }
  }

  func finish() throws {
    var plan: [TensorPlan] = []
    let shape = columns.shape.layers[columns.layers[0]]
    for (user, count) in rowCounts {
      plan.append(TensorPlan(name: "key.\(user)", dtype: .f32, shape: [count, shape.key.width]))
    }
    if let value = shape.value {
      for (user, count) in rowCounts {
        plan.append(TensorPlan(name: "value.\(user)", dtype: .f32, shape: [count, value.width]))
      }
    }
    var writer = try SafetensorsWriter(path: path, tensors: plan, metadata: [:])
    try keys.copy(to: &writer)
    try values.copy(to: &writer)
    try writer.finish()
  }
}
