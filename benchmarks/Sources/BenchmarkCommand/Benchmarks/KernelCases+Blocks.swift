/// The kernels for sixteen queries side by side, those of single attention functions, and those that move numbers
/// between positions and pool rows.

import CKernels

extension KernelCases {
  // MARK: Queries side by side

  func blockRowCases(_ format: KernelFormat) -> [Case] {
    let kernels: ckv_block_row_kernels =
      switch format {
      case .f32: blocks.f32
      case .f16: blocks.f16
      case .bf16: blocks.bf16
      }
    let (m, width, used, rows, block) = (m, width, used, rows, block)
    let matrix = memory.matrix(m * width, format)
    let (vectors, sums) = (memory.floats(block * 256), memory.zeros(m * block))
    let (weights, scales, outputs) = (memory.floats(m * block), memory.floats(block), memory.zeros(block * 256))
    let numbers = Double(used * width)
    let bytes = numbers * Double(format.byteCount) + Double(4 * used)
    let work = Work(
      operations: numbers * Double(block), widened: numbers, from: format, read: bytes,
      written: Double(used * block * 4))
    let shape = "\(used) of \(m) rows of \(width), 16 queries"
    return [
      Case(name: "block_dots \(format.rawValue)", shape: shape, work: work) {
        kernels.block_dots(matrix, width, rows, used, vectors, 256, block, width, sums)
      },
      Case(name: "block_sums \(format.rawValue)", shape: shape, work: work) {
        kernels.block_sums(matrix, width, rows, weights, used, scales, block, width, outputs, 256)
      },
    ]
  }

  var blockCases: [Case] {
    let blocks = blocks
    let (n, used, indices, ranks, rows, block) = (n, used, indices, ranks, rows, block)
    let (count, all) = (Double(n), Double(n * block))
    let (table, columns, coefficients) = (memory.floats(m * block), memory.floats(2 * n), memory.floats(2 * block))
    let (scores, greatest, shifts) = (memory.zeros(n * block), memory.zeros(block), memory.zeros(block))
    for query in 0..<block { shifts[query] = 1 }
    let (values, weights, sums) = (memory.floats(n * block), memory.floats(n * block), memory.floats(m * block))
    let (target, own) = (memory.zeros(m * block), memory.zeros(2 * block))
    let places = memory.counts(Array(repeating: 0, count: m))
    let found = memory.counts(Array(repeating: 0, count: n))
    let totals = memory.room(byteCount: 8 * block).bindMemory(to: Double.self, capacity: block)
    let shape = "\(n) positions, 16 queries"
    let tableBytes = Double(used * block * 4)
    return [
      Case(
        name: "block scores", shape: shape + ", table of \(used), d_u = 2",
        work: Work(operations: 4 * all, read: 12 * count + 4 * all, written: 4 * all)
      ) { blocks.scores(table, ranks, columns, n, coefficients, 2, 0.06, n, scores, greatest) },
      Case(
        name: "block exp_sums", shape: shape,
        work: Work(operations: (Self.exponentialOperations + 2) * all, read: 4 * all, written: 4 * all)
      ) { blocks.exp_sums(values, n, shifts, totals) },
      Case(name: "block totals", shape: shape, work: Work(operations: all, read: 4 * all)) {
        blocks.totals(weights, n, totals)
      },
      Case(
        name: "block column_sums", shape: shape + ", d_u = 2",
        work: Work(operations: 2 * all, read: 4 * all + 8 * count)
      ) { blocks.column_sums(weights, columns, n, 2, n, nil, own) },
      Case(
        name: "block scatter", shape: shape,
        work: Work(operations: all, read: 8 * all + 4 * count, written: 4 * all)
      ) { blocks.scatter(target, ranks, weights, nil, n) },
      Case(
        name: "block empty_rows", shape: "\(used) rows, 16 queries",
        work: Work(operations: Double(used * block), read: tableBytes)
      ) { BlackHole.take(UInt64(blocks.empty_rows(sums, 1, 0, used))) },
      Case(
        name: "gather_blocks_f32", shape: "\(used) of \(m) rows of 16",
        work: Work(read: tableBytes + Double(4 * used), written: tableBytes)
      ) { ckv_gather_blocks_f32(table, rows, used, target) },
      Case(
        name: "rank_u32", shape: "\(n) positions, \(used) of \(m) rows",
        work: Work(lookups: Double(n + used), read: Double(8 * n + 4 * used), written: Double(4 * n + 4 * used))
      ) { ckv_rank_u32(rows, used, places, indices, n, found) },
    ]
  }

  // MARK: Attention functions

  var functions: [Case] {
    let n = n
    let count = Double(n)
    let (scores, target, bias) = (memory.floats(n), memory.zeros(n), memory.zeros(n))
    for place in 0..<n { bias[place] = -0.5 }
    let silu = memory.floats(n)
    let places = memory.counts(memory.drawn(n, below: n))
    let (numbers, kept) = (memory.counts(memory.drawn(n, below: n)), memory.counts(Array(repeating: 0, count: n)))
    // Sixteen bits: every position's code differs from the query's or, one time in 65,536, does not.
    let (codes, query) = (memory.words(n, below: 1 << 16), memory.words(1, below: 1 << 16))
    let hashes = ckv_hash_kernels_active().pointee
    let distances = memory.counts(Array(repeating: 0, count: n))
    let (table, columns, coefficients) = (memory.floats(m * 64), memory.floats(2 * n), memory.floats(2 * 64))
    let rows = memory.counts(memory.drawn(n, below: m))
    let shape = "\(n) positions"
    return [
      Case(name: "select_top_f32", shape: shape + ", top 100", work: Work(operations: count, read: 4 * count)) {
        ckv_select_top_f32(scores, n, 100, kept)
      },
      Case(name: "gather_f32", shape: shape, work: Work(lookups: count, read: 8 * count, written: 4 * count)) {
        ckv_gather_f32(scores, places, n, target)
      },
      Case(name: "gather_u32", shape: shape, work: Work(lookups: count, read: 8 * count, written: 4 * count)) {
        ckv_gather_u32(numbers, places, n, kept)
      },
      Case(
        name: "gather_scores_f32", shape: shape,
        work: Work(operations: 2 * count, lookups: count, read: 8 * count, written: 4 * count)
      ) { _ = ckv_gather_scores_f32(scores, places, n, 0.06, target) },
      Case(
        name: "signs_f32", shape: shape + ", 64 bits, table of \(m), d_u = 2",
        work: Work(operations: 6 * 64 * count, read: (256 + 12) * count, written: 8 * count)
      ) { hashes.signs_f32(table, m * 16, 16, rows, columns, n, coefficients, 2, 0, 64, n, 1, codes) },
      // Numbers of 64 bits count twice.
      Case(
        name: "nearest_u64", shape: shape + ", 64 bits, top 100",
        work: Work(operations: 2 * 3 * count, read: 8 * count, written: 4 * count)
      ) { hashes.nearest_u64(codes, query, 1, n, 100, distances, kept) },
      Case(name: "matching_u64", shape: shape + ", 16 bits", work: Work(operations: 2 * count, read: 8 * count)) {
        BlackHole.take(UInt64(hashes.matching_u64(codes, query, 1, 0, 16, n, kept)))
      },
      Case(
        name: "silu_f32", shape: shape + ", with a bias",
        work: Work(operations: (Self.exponentialOperations + 4) * count, read: 8 * count, written: 4 * count)
      ) { ckv_silu_f32(silu, bias, n) },
    ]
  }

  // MARK: Between positions and pool rows

  var tables: [Case] {
    let (n, m, used, indices, rows) = (n, m, used, indices, rows)
    let count = Double(n)
    let (weights, sums, columns) = (memory.floats(n), memory.zeros(m), memory.floats(2 * n))
    let target = memory.room(byteCount: n * 512)
    let packed = memory.room(byteCount: n * 2).bindMemory(to: UInt8.self, capacity: n * 2)
    for place in 0..<n * 2 { packed[place] = UInt8(truncatingIfNeeded: place * 37) }
    let unpacked = memory.counts(Array(repeating: 0, count: n))
    return [
      Case(
        name: "scatter_add_f32", shape: "\(n) positions, \(m) rows",
        work: Work(updates: count, read: 12 * count, written: 4 * count)
      ) { ckv_scatter_add_f32(sums, indices, weights, n) },
      Case(
        name: "spread_f32", shape: "\(used) of \(m) rows",
        work: Work(lookups: Double(used), read: Double(8 * used), written: Double(4 * used))
      ) { ckv_spread_f32(weights, rows, used, sums) },
      // A row of the target is on a cache line of its own.
      Case(
        name: "copy_columns_f32 to f16", shape: "2 columns of \(n), rows of 512 bytes",
        work: Work(read: 8 * count, written: 64 * count)
      ) { ckv_copy_columns_f32(columns, n, 2, n, target, 512, CKV_F16) },
      Case(
        name: "unpack_bits_u32", shape: "\(n) numbers of 10 bits",
        work: Work(operations: 4 * count, read: 1.25 * count, written: 4 * count)
      ) { BlackHole.take(UInt64(ckv_unpack_bits_u32(packed, n * 2, 10, 0, n, unpacked))) },
    ]
  }
}
