/// Unsafe code is kept to files that are known. A file that starts or stops using it is added to or taken from the list
/// here, so that the change is seen by whoever reads it.

import Testing

struct UnsafeFileTests {
  /// The failing test prints this list as it should be.
  static let known: [String] = [
    "Sources/CKVDBCommand/BenchBaselines.swift",
    "Sources/CKVDBCommand/ByteSource.swift",
    "Sources/CKVDBCommand/DumpTensors.swift",
    "Sources/CKVDBCommand/ErrorText.swift",
    "Sources/CKVDBCommand/EventParser.swift",
    "Sources/CKVDBCommand/Inflater.swift",
    "Sources/CKVDBCommand/Interruption.swift",
    "Sources/CKVDBCommand/Output.swift",
    "Sources/CKVDBCommand/StandardError.swift",
    "Sources/CKVDBCommand/TemporaryFolder.swift",
    "Sources/CKVDBCommand/TensorInput.swift",
    "Sources/CacheTypes/Checksum.swift",
    "Sources/CacheTypes/Entries.swift",
    "Sources/CacheTypes/FileSystem.swift",
    "Sources/CacheTypes/OpenFile.swift",
    "Sources/CacheTypes/Tensor.swift",
    "Sources/CollectiveKV/CacheStore+Batch.swift",
    "Sources/CollectiveKV/CacheStore+Reconstruct.swift",
    "Sources/CollectiveKV/CandidateSet.swift",
    "Sources/CollectiveKV/RowSource.swift",
    "Sources/CollectiveKV/Stage.swift",
    "Sources/CollectiveKV/ThreadTeam.swift",
    "Sources/KVRuntime/Attention/AttentionCall.swift",
    "Sources/KVRuntime/Attention/AttentionCosts+Measured.swift",
    "Sources/KVRuntime/Attention/AttentionFormula.swift",
    "Sources/KVRuntime/Attention/AttentionFunction.swift",
    "Sources/KVRuntime/Attention/AttentionLayer+Block.swift",
    "Sources/KVRuntime/Attention/AttentionLayer+Softmax.swift",
    "Sources/KVRuntime/Attention/AttentionLayer.swift",
    "Sources/KVRuntime/Attention/AttentionQueries.swift",
    "Sources/KVRuntime/Attention/AttentionScratch.swift",
    "Sources/KVRuntime/Attention/BlockPass+Values.swift",
    "Sources/KVRuntime/Attention/BlockScratch.swift",
    "Sources/KVRuntime/Attention/CandidateTables.swift",
    "Sources/KVRuntime/Attention/HashAttention.swift",
    "Sources/KVRuntime/Attention/HashCodes.swift",
    "Sources/KVRuntime/Attention/HashRotations.swift",
    "Sources/KVRuntime/Attention/HashScratch.swift",
    "Sources/KVRuntime/Attention/HashTable.swift",
    "Sources/KVRuntime/Attention/QueryBlock.swift",
    "Sources/KVRuntime/Attention/SelectAttention.swift",
    "Sources/KVRuntime/Attention/Selection.swift",
    "Sources/KVRuntime/Attention/SiluAttention.swift",
    "Sources/KVRuntime/Attention/SoftmaxAttention.swift",
    "Sources/KVRuntime/Attention/TopAttention.swift",
    "Sources/KVRuntime/Encoder.swift",
    "Sources/KVRuntime/Kernels.swift",
    "Sources/KVRuntime/PackedWeights.swift",
    "Sources/KVRuntime/Reconstruction+Memory.swift",
    "Sources/KVRuntime/Reconstruction.swift",
    "Sources/KVRuntime/WideningRows.swift",
    "Sources/PoolStorage/FiniteScan.swift",
    "Sources/PoolStorage/MappedPool.swift",
    "Sources/PoolStorage/PoolBlob.swift",
    "Sources/PoolStorage/SafetensorsFile.swift",
    "Sources/PoolStorage/SafetensorsWriter.swift",
    "Sources/RowStorage/BitColumn.swift",
    "Sources/RowStorage/ByteBuffer.swift",
    "Sources/RowStorage/Connection.swift",
    "Sources/RowStorage/FoundRows.swift",
    "Sources/RowStorage/Hardening.swift",
    "Sources/RowStorage/Quantiser.swift",
    "Sources/RowStorage/ReaderPool.swift",
    "Sources/RowStorage/RowChecksum.swift",
    "Sources/RowStorage/RowCodec+Check.swift",
    "Sources/RowStorage/RowCodec+Slice.swift",
    "Sources/RowStorage/RowCodec.swift",
    "Sources/RowStorage/RowSalvage.swift",
    "Sources/RowStorage/RowStore+Blocks.swift",
    "Sources/RowStorage/RowStore+Vacuum.swift",
    "Sources/RowStorage/RowStore+Verify.swift",
    "Sources/RowStorage/RowStore.swift",
    "Sources/RowStorage/SalvageTarget.swift",
    "Sources/RowStorage/Snapshot+History.swift",
    "Sources/RowStorage/Statement.swift",
    "Sources/RowStorage/TailArena.swift",
    "Sources/RowStorage/Watermark.swift",
    "Sources/RowStorage/Writer.swift",
    "Sources/RowStorage/WriterQueue.swift",
  ]

  static func usesUnsafe(_ file: SourceFile) -> Bool {
    let pattern = #/\b(?:unsafe|Unsafe\w*Pointer|OpaquePointer|Unmanaged|unsafeBitCast|withUnsafe\w+)\b/#
      .wordBoundaryKind(.simple)
    return file.codeLines.contains { $0.contains(pattern) }
  }

  @Test func `unsafe code stands only in the listed files and every listed file has some`() throws {
    let found = try SourceTree.swiftSources().filter(Self.usesUnsafe).map(\.path)
    let list = found.map { "    \"\($0)\",\n" }.joined()
    let new = found.filter { !Self.known.contains($0) }
    let gone = Self.known.filter { !found.contains($0) }
    let isCurrent = found == Self.known
    #expect(isCurrent, "new: \(new)\ngone: \(gone)\nthe list as found:\n\(list)")
  }

  @Test(arguments: [
    "let a = unsafe b", "func f(_ p: UnsafeRawBufferPointer)", "var d: OpaquePointer?", "@unsafe struct S {}",
    "nonisolated(unsafe) var x = 1", "try bytes.withUnsafeBytes { $0 }",
  ])
  func `the search sees unsafe code`(line: String) {
    let seen = Self.usesUnsafe(SourceFile(path: "", text: "import A\n\(line)\n"))
    #expect(seen)
  }

  @Test(arguments: ["// unsafe", "let unsafety = 1", "/// An UnsafeRawPointer would do here."])
  func `the search passes over comments and other words`(line: String) {
    let seen = Self.usesUnsafe(SourceFile(path: "", text: line))
    #expect(!seen)
  }
}
