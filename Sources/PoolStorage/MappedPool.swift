/// A store's blob, mapped. It owns the mapping and knows which chunks have been compared with the record. The header is
/// checked at once; the tensors' bytes when a layer is first used, so that opening a large blob costs nothing. That the
/// file has not been cut short since is for the reader to check after reading: `checkWhole`.

package import CacheTypes
internal import Synchronization

/// One mapped blob. Any thread may use it at any time.
package final class MappedPool: Sendable {
  package let model: Model
  package let record: BlobRecord
  private let file: SafetensorsFile
  /// Per layer, then once for the item embeddings.
  private let parts: [Part]
  /// One bit per chunk: it was compared and is what it was.
  private let verifiedChunks: Mutex<[Bool]>

  /// Something that is verified as a whole.
  private final class Part: Sendable {
    let chunks: [Int]
    let isVerified = Atomic(false)

    init(_ ranges: [Range<Int>]) {
      chunks = Set(ranges.flatMap { Array(MappedPool.chunks($0)) }).sorted()
    }
  }

  init(directory: String, record: BlobRecord) throws(StoreError) {
    let path = directory + "/" + record.name
    try Self.check(record, path)
    let memory = try Self.map(path, record)
    let headerEnd = try Self.headerEnd(memory, record, path)
    let file = try SafetensorsFile(memory: memory, path: path, role: .blob)
    let model = try Model(file, digest: record.digest, checksNumbers: false)
    try file.checkWhole()
    self.record = record
    self.file = file
    self.model = model
    parts =
      (0..<model.layers.count).map { layer in
        Part(ModelReader.layerNames.compactMap { file.info("layers.\(layer).\($0)")?.byteRange })
      } + [Part([file.info(ModelReader.itemEmbeddingName)?.byteRange].compactMap { $0 })]
    var verified = Array(repeating: false, count: PoolBlob.chunkCount(byteCount: record.byteCount))
    for chunk in Self.chunks(0..<headerEnd) { verified[chunk] = true }
    verifiedChunks = Mutex(verified)
  }

  // MARK: Verifying

  /// Compares the whole blob with the record, chunk by chunk and as a whole, whatever was compared before.
  ///
  /// - Throws: `damaged` with the first chunk that differs and what lies in it.
  package func verifyAll() throws(StoreError) {
    for chunk in 0..<PoolBlob.chunkCount(byteCount: record.byteCount) { try compare(chunk) }
    let digest = unsafe file.withUnsafeBytes { unsafe Checksum.xxh128($0) }
    try checkWhole()
    guard digest == record.digest else {
      throw file.failure("the digest is \(Hex.encode(digest)), expected \(Hex.encode(record.digest))")
    }
  }

  /// Compares the chunks of one layer's tensors with the record, unless this process has already.
  ///
  /// - Precondition: the model has that layer.
  /// - Throws: `damaged` with the chunk that differs and what lies in it.
  /// - Complexity: O(bytes of the layer) the first time, one atomic load after that.
  package func verify(layer: Int) throws(StoreError) {
    precondition(model.layers.indices.contains(layer), "the model has no such layer")
    try verify(parts[layer])
  }

  /// The same for `items.embedding`, if there is one.
  package func verifyItemEmbedding() throws(StoreError) { try verify(parts[model.layers.count]) }

  /// To be called when tensors were read, before anything that came of them is returned.
  ///
  /// - Throws: `damaged` if the blob was cut short since it was opened, or a page of it could not be read.
  /// - Complexity: two loads.
  package func checkWhole() throws(StoreError) { try file.checkWhole() }

  private func verify(_ part: Part) throws(StoreError) {
    if part.isVerified.load(ordering: .acquiring) { return }
    for chunk in part.chunks {
      // Under the lock, so that threads that meet here do not all read the same chunk: it costs microseconds.
      try verifiedChunks.withLock { (verified) throws(StoreError) in
        if verified[chunk] { return }
        try compare(chunk)
        verified[chunk] = true
      }
    }
    part.isVerified.store(true, ordering: .releasing)
  }

  private func compare(_ chunk: Int) throws(StoreError) {
    let difference = Self.difference(file.memory, record, chunk: chunk)
    try checkWhole()
    if let difference {
      let range = Self.bytes(chunk: chunk, record)
      let names = file.tensors.filter { $0.byteRange.overlaps(range) && !$0.name.hasPrefix("_pad.") }.map(\.name)
      let held = (range.lowerBound < Self.dataStart(file) ? ["the header"] : []) + names
      throw file.failure("\(difference); it holds \(held.joined(separator: ", "))")
    }
  }

  // MARK: Opening

  private static func check(_ record: BlobRecord, _ path: String) throws(StoreError) {
    guard record.digest.count == 16, record.name.utf8.elementsEqual(PoolBlob.name(digest: record.digest).utf8) else {
      throw .damaged("the record of the blob names \(record.name.debugDescription), expected the digest's name")
    }
    guard record.byteCount > 0,
      record.chunkChecksums.count.isMultiple(of: 8),
      record.chunkChecksums.count / 8 == chunkCount(record)
    else {
      throw .damaged(
        "\(path): the record has \(record.chunkChecksums.count) bytes of checksums for \(record.byteCount) bytes")
    }
  }

  /// Chunks of a record whose length may be anything above 0.
  private static func chunkCount(_ record: BlobRecord) -> Int { (record.byteCount - 1) / PoolBlob.chunkByteCount + 1 }

  private static func map(_ path: String, _ record: BlobRecord) throws(StoreError) -> TensorMemory {
    guard try FileSystem.kind(path) == .file else {
      throw .damaged("\(path): the blob is missing or not a regular file")
    }
    let memory = try OpenFile(path, .reading(followsLinks: false)).map()
    guard memory.byteCount == record.byteCount else {
      throw .damaged("\(path): \(memory.byteCount) bytes, expected \(record.byteCount)")
    }
    return memory
  }

  /// Compares the chunks of the header before anything in it is believed.
  private static func headerEnd(
    _ memory: TensorMemory, _ record: BlobRecord, _ path: String
  ) throws(StoreError) -> Int {
    try compareHeader(memory, record, path, 0..<1)
    let end: Int
    do throws(HeaderFault) {
      end = try SafetensorsFile.headerEnd(memory)
    } catch {
      throw FileRole.blob.failure(path, memory.isWhole ? error.reason : SafetensorsFile.cutReason)
    }
    try compareHeader(memory, record, path, 1..<chunks(0..<end).upperBound)
    return end
  }

  private static func compareHeader(
    _ memory: TensorMemory, _ record: BlobRecord, _ path: String, _ chunks: Range<Int>
  ) throws(StoreError) {
    for chunk in chunks {
      let difference = difference(memory, record, chunk: chunk)
      guard memory.isWhole else { throw .damaged("\(path): \(SafetensorsFile.cutReason)") }
      if let difference { throw .damaged("\(path): \(difference); it holds the header") }
    }
  }

  // MARK: Chunks

  /// How a chunk differs from the record; `nil` if it does not.
  private static func difference(_ memory: TensorMemory, _ record: BlobRecord, chunk: Int) -> String? {
    let seen = unsafe memory.withUnsafeBytes { unsafe PoolBlob.checksum($0, chunk: chunk) }
    let expected = record.chunkChecksums[chunk * 8..<chunk * 8 + 8].reversed().reduce(UInt64(0)) {
      $0 << 8 | UInt64($1)
    }
    if seen == expected { return nil }
    let range = bytes(chunk: chunk, record)
    return "chunk \(chunk), bytes \(range.lowerBound)..<\(range.upperBound), has checksum \(hex(seen)), "
      + "expected \(hex(expected))"
  }

  /// The chunks that hold a range of bytes.
  private static func chunks(_ range: Range<Int>) -> Range<Int> {
    if range.isEmpty { return 0..<0 }
    return range.lowerBound / PoolBlob.chunkByteCount..<(range.upperBound - 1) / PoolBlob.chunkByteCount + 1
  }

  private static func bytes(chunk: Int, _ record: BlobRecord) -> Range<Int> {
    let start = chunk * PoolBlob.chunkByteCount
    return start..<min(start + PoolBlob.chunkByteCount, record.byteCount)
  }

  private static func dataStart(_ file: SafetensorsFile) -> Int {
    file.tensors.first?.byteRange.lowerBound ?? file.memory.byteCount
  }

  private static func hex(_ checksum: UInt64) -> String {
    Hex.encode((0..<8).reversed().map { UInt8(truncatingIfNeeded: checksum >> ($0 * 8)) })
  }
}
