/// The dot products of queries with every pool row of a layer's keys: they depend on the model and the queries alone,
/// so one set of tables serves every user. It is made once and read by any number of threads; where it ends, at its
/// limit of bytes, attention computes what it needs as it does without tables.

internal import CKernels
package import CacheTypes

@safe
package final class CandidateTables: @unchecked Sendable {
  /// Queries that are done side by side come first, block after block: per head a row of `QueryBlocks.size` numbers for
  /// each pool row. The others follow one by one: a number per pool row and head, those of a `HeadGroup` side by side.
  private let memory: AlignedFloats
  private let shape: LayerShape
  private let queryCount: Int
  /// Blocks in all, and those that have tables.
  private let blockCount: Int
  private let keptBlocks: Int
  /// Queries outside blocks that have tables.
  private let keptSingles: Int

  /// Bytes of the tables.
  package let byteCount: Int

  /// - Parameters:
  ///   - queries: as `AttentionQueries` takes them, without positions: every query sees the same.
  ///   - goesInBlocks: whether a function will be taken that goes block by block: `AttentionFunction.goesInBlocks`.
  ///   - byteLimit: what the tables take at most; queries past it get none.
  /// - Throws: `StoreError.invalidInput` for queries that do not fit or a limit below 0.
  /// - Complexity: O(C m d_g).
  package init(
    _ queries: AttentionQueries, goesInBlocks: Bool, shape: LayerShape, tensors: LayerTensors, byteLimit: Int
  ) throws(StoreError) {
    try queries.check(width: shape.key.width, length: 0)
    guard byteLimit >= 0 else { throw .invalidInput("tables of at most \(byteLimit) bytes") }
    precondition(tensors.key.pool.count == shape.key.poolRows * shape.key.poolWidth)
    self.shape = shape
    queryCount = queries.count
    let rest = queries.count % QueryBlocks.size
    blockCount = goesInBlocks ? queries.count / QueryBlocks.size + (rest >= QueryBlocks.least ? 1 : 0) : 0
    let singles = max(0, queries.count - blockCount * QueryBlocks.size)
    let (blockStride, singleStride) = (Self.blockStride(shape), Self.singleStride(shape))
    let limit = AttentionLayer.canUseTables(shape.key) ? byteLimit / MemoryLayout<Float>.stride : 0
    keptBlocks = min(blockCount, limit / blockStride)
    keptSingles = min(singles, (limit - keptBlocks * blockStride) / singleStride)
    let count = keptBlocks * blockStride + keptSingles * singleStride
    byteCount = count * MemoryLayout<Float>.stride
    memory = AlignedFloats(repeating: 0, count: count)
    fill(queries.values, tensors.key.pool)
  }

  private static func blockStride(_ shape: LayerShape) -> Int { shape.heads * shape.key.poolRows * QueryBlocks.size }

  private static func singleStride(_ shape: LayerShape) -> Int {
    let heads = shape.heads == 1 ? 1 : (shape.heads + HeadGroup.size - 1) / HeadGroup.size * HeadGroup.size
    return heads * shape.key.poolRows
  }

  private func fill(_ queries: [Float], _ pool: Tensor) {
    let key = shape.key
    let kernels = Kernels.active
    unsafe pool.withUnsafeBytes { bytes in
      unsafe queries.withUnsafeBufferPointer { queries in
        let start = unsafe bytes.baseAddress ?? UnsafeRawPointer(memory.pointer)
        for number in 0..<keptBlocks {
          let first = number * QueryBlocks.size
          for head in 0..<shape.heads {
            let slice = HeadSlice(head, of: shape.heads, key)
            unsafe Kernels.activeBlocks.rows(of: pool.element).block_dots(
              start + slice.pool.lowerBound * pool.element.byteCount, key.poolWidth, nil, key.poolRows,
              queries.baseAddress! + first * key.width + slice.poolColumns.lowerBound, key.width,
              min(QueryBlocks.size, queryCount - first), slice.pool.count,
              memory.pointer + number * Self.blockStride(shape) + head * key.poolRows * QueryBlocks.size)
          }
        }
        for place in 0..<keptSingles {
          let row = blockCount * QueryBlocks.size + place
          let query = unsafe queries.baseAddress! + row * key.width + (key.isAdditive ? 0 : key.userWidth)
          let table = unsafe memory.pointer + keptBlocks * Self.blockStride(shape) + place * Self.singleStride(shape)
          if shape.heads == 1 {
            unsafe kernels.rows(of: pool.element).row_dots(
              start, key.poolWidth, nil, key.poolRows, query, key.poolWidth, table)
            continue
          }
          for first in stride(from: 0, to: shape.heads, by: HeadGroup.size) {
            let group = HeadGroup(first, of: shape, shape.value ?? key)
            unsafe kernels.rows(of: pool.element).head_dots(
              start, key.poolWidth, nil, key.poolRows, query, group.keyBounds, table + first * key.poolRows)
          }
        }
      }
    }
  }

  // MARK: Reading

  func fits(_ queries: AttentionQueries, _ shape: LayerShape) -> Bool {
    queries.count == queryCount && queries.positions == nil && shape == self.shape
  }

  /// Whether a query belongs to a block, with tables or past their limit.
  func isInBlock(_ row: Int) -> Bool { row < blockCount * QueryBlocks.size }

  /// The tables of a block of queries: `m` rows per head, head after head.
  func block(_ number: Int) -> UnsafePointer<Float>? {
    guard number < keptBlocks else { return nil }
    return unsafe UnsafePointer(memory.pointer + number * Self.blockStride(shape))
  }

  /// The tables of a query outside blocks.
  func single(_ row: Int) -> UnsafePointer<Float>? {
    let place = row - blockCount * QueryBlocks.size
    guard place >= 0, place < keptSingles else { return nil }
    return unsafe UnsafePointer(
      memory.pointer + keptBlocks * Self.blockStride(shape) + place * Self.singleStride(shape))
  }

  /// Where a head's numbers stand in the tables of a query outside blocks.
  struct Place {
    let start: Int
    let stride: Int

    init(head: Int, of shape: LayerShape) {
      stride = shape.heads == 1 ? 1 : HeadGroup.size
      start = head / HeadGroup.size * HeadGroup.size * shape.key.poolRows + head % HeadGroup.size
    }
  }
}
