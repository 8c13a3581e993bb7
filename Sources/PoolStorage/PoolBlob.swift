/// Pool blobs: what a model file becomes when a store takes it over. A blob is a safetensors file of the tensors that
/// the engine names, each on a 64-byte boundary, under a name made of its own digest; the same model gives the same
/// bytes. It is written once, never changed, and becomes part of a store only when the database records it.

package import CacheTypes

/// What a store's database knows about its blob.
package struct BlobRecord: Sendable, Hashable {
  /// `pool-<digest in hexadecimal>.safetensors`.
  package var name: String
  package var byteCount: Int
  /// XXH3-128 of all bytes, 16 bytes, most significant first.
  package var digest: [UInt8]
  /// XXH3-64 of every chunk of `PoolBlob.chunkByteCount` bytes (the last may be shorter), 8 bytes each, little endian.
  package var chunkChecksums: [UInt8]

  package init(name: String, byteCount: Int, digest: [UInt8], chunkChecksums: [UInt8]) {
    self.name = name
    self.byteCount = byteCount
    self.digest = digest
    self.chunkChecksums = chunkChecksums
  }
}

package enum PoolBlob {
  /// Bytes that share one checksum.
  package static let chunkByteCount = 65_536
  /// Every tensor starts on a multiple of so many bytes: a cache line, and the widest vector.
  package static let alignment = 64

  /// Checks a model file and writes its blob into a directory. When this returns, the blob and its name are on disk.
  ///
  /// - Throws: `invalidModel` with the rule that the file breaks; `io`. A failure leaves no file behind.
  /// - Complexity: reads the model once to check it and once to copy it, and the blob once for its digest.
  package static func install(modelFile: String, into directory: String) throws(StoreError) -> BlobRecord {
    let file = try SafetensorsFile(path: modelFile, followsLinks: true, role: .model)
    var reader = try ModelReader(file)
    _ = try reader.read(digest: [], checksNumbers: true)
    let sources = reader.namedTensors()
    let layout = BlobLayout(sources)
    var writer = try SafetensorsWriter(
      path: directory + "/pool.safetensors", tensors: layout.plans, metadata: reader.namedMetadata,
      alignment: alignment)
    let padding = [UInt8](repeating: 0, count: alignment)
    for piece in layout.pieces {
      switch piece {
      case .padding(let count): try writer.append(Array(padding.prefix(count)))
      case .tensor(let info):
        do throws(StoreError) {
          try unsafe file.withUnsafeBytes { (bytes) throws(StoreError) in
            try unsafe writer.append(UnsafeRawBufferPointer(rebasing: bytes[info.byteRange]))
          }
        } catch {
          // A model that was cut cannot be written from: the system's error would name the wrong file.
          try file.checkWhole()
          throw error
        }
      }
    }
    try file.checkWhole()
    var record = BlobRecord(name: "", byteCount: 0, digest: [], chunkChecksums: [])
    try writer.finish { (memory) throws(StoreError) in
      record = unsafe memory.withUnsafeBytes { unsafe Self.record($0) }
      return directory + "/" + record.name
    }
    return record
  }

  /// Maps a store's blob and checks its length, its header and the model's rules. The tensors' bytes are checked when
  /// the result is asked to.
  ///
  /// - Throws: `damaged` if the blob is missing or is not what the record says; `io`.
  package static func open(directory: String, record: BlobRecord) throws(StoreError) -> MappedPool {
    try MappedPool(directory: directory, record: record)
  }

  /// The name of the blob with that digest.
  package static func name(digest: [UInt8]) -> String { "pool-\(Hex.encode(digest)).safetensors" }

  static func chunkCount(byteCount: Int) -> Int { (byteCount + chunkByteCount - 1) / chunkByteCount }

  private static func record(_ bytes: UnsafeRawBufferPointer) -> BlobRecord {
    let digest = unsafe Checksum.xxh128(bytes)
    var checksums: [UInt8] = []
    for chunk in 0..<chunkCount(byteCount: bytes.count) {
      let checksum = unsafe Self.checksum(bytes, chunk: chunk)
      checksums.append(contentsOf: (0..<8).map { UInt8(truncatingIfNeeded: checksum >> ($0 * 8)) })
    }
    return BlobRecord(
      name: name(digest: digest), byteCount: bytes.count, digest: digest, chunkChecksums: checksums)
  }

  /// The checksum of one chunk; `chunk` is below `chunkCount`.
  static func checksum(_ bytes: UnsafeRawBufferPointer, chunk: Int) -> UInt64 {
    let start = chunk * chunkByteCount
    let end = min(start + chunkByteCount, bytes.count)
    return unsafe Checksum.xxh3(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
  }
}

/// The order of a blob's bytes: its tensors, with zeros between them where one would start off the boundary.
struct BlobLayout {
  enum Piece {
    case padding(Int)
    case tensor(TensorInfo)
  }

  private(set) var plans: [TensorPlan] = []
  private(set) var pieces: [Piece] = []

  /// - Parameter tensors: tensors of one file, so that their sizes add up to less than an Int holds.
  init(_ tensors: [TensorInfo]) {
    var offset = 0
    var paddingCount = 0
    for tensor in tensors {
      let past = offset % PoolBlob.alignment
      if past > 0 {
        let count = PoolBlob.alignment - past
        plans.append(TensorPlan(name: "_pad.\(paddingCount)", dtype: .u8, shape: [count]))
        pieces.append(.padding(count))
        paddingCount += 1
        offset += count
      }
      plans.append(TensorPlan(name: tensor.name, dtype: tensor.dtype, shape: tensor.shape))
      pieces.append(.tensor(tensor))
      offset += tensor.byteRange.count
    }
  }
}
