/// The table of kernels with the arguments that an attend over 1,000 positions of the benchmarks' model has: 1,024 pool
/// rows of which some 640 are in use, d = 256 (2 + 254), one head or four, sixteen queries side by side. What each must
/// do at least stands beside it.

import CKernels

struct KernelCases {
  typealias Work = KernelsBenchmark.Work
  typealias Case = KernelsBenchmark.Case

  let memory: KernelMemory
  let options: Options
  let kernels = ckv_kernels_active().pointee
  let blocks = ckv_block_kernels_active().pointee
  /// n, m, d_g, and what of it is in use.
  let n = 1_000
  let m = 1_024
  let width = 254
  let group = Int(CKV_GROUP)
  let block = Int(CKV_BLOCK)
  let bounds = [0, 62, 126, 190, 254]
  let indices: UnsafeMutablePointer<UInt32>
  let rows: UnsafeMutablePointer<UInt32>
  let used: Int
  /// Of each of the first positions the rank of its row among those in use.
  let ranks: UnsafeMutablePointer<UInt32>

  init(_ memory: KernelMemory, _ options: Options) {
    (self.memory, self.options) = (memory, options)
    let drawn = memory.drawn(n, below: m)
    let inUse = Set(drawn).sorted()
    indices = memory.counts(drawn)
    rows = memory.counts(inUse)
    used = inUse.count
    let places = Dictionary(uniqueKeysWithValues: inUse.enumerated().map { ($1, $0) })
    ranks = memory.counts(drawn.map { places[$0] ?? 0 })
  }

  var all: [KernelsBenchmark.Case] {
    KernelFormat.allCases.flatMap { rowCases($0) } + farRows + encoder + oneQuery + groups
      + KernelFormat.allCases.flatMap { blockRowCases($0) } + blockCases + functions + tables
  }

  // MARK: Rows

  private func rowKernels(_ format: KernelFormat) -> ckv_row_kernels {
    switch format {
    case .f32: kernels.f32
    case .f16: kernels.f16
    case .bf16: kernels.bf16
    }
  }

  private func rowWork(_ format: KernelFormat, count: Int, numbers: Int = 1) -> Work {
    let all = Double(count * width)
    return Work(
      operations: all, widened: all, from: format, read: all * Double(format.byteCount) + Double(4 * count),
      written: Double(4 * count * numbers))
  }

  private func rowCases(_ format: KernelFormat) -> [Case] {
    let kernels = rowKernels(format)
    let (name, bytes) = (format.rawValue, Double(format.byteCount))
    let matrix = memory.matrix(m * width, format)
    let (vector, sums) = (memory.floats(width), memory.zeros(m * group))
    let (weights, scales) = (memory.floats(m * group), memory.floats(group))
    let target = memory.zeros(256 * 256)
    let (m, width, used, rows, bounds) = (m, width, used, rows, bounds)
    let shape = "\(used) of \(m) rows of \(width)"
    let copied = Double(256 * width)
    let widening = Work(widened: copied, from: format, read: copied * bytes, written: copied * 4)
    let copying = Work(widened: format == .bf16 ? copied : 0, from: format, read: copied * bytes, written: copied * 2)
    return [
      Case(name: "row_dots \(name)", shape: shape, work: rowWork(format, count: used)) {
        kernels.row_dots(matrix, width, rows, used, vector, width, sums)
      },
      Case(name: "head_dots \(name)", shape: shape + ", 4 heads", work: rowWork(format, count: used, numbers: group)) {
        kernels.head_dots(matrix, width, rows, used, vector, bounds, sums)
      },
      Case(name: "row_sum \(name)", shape: shape, work: rowWork(format, count: used)) {
        kernels.row_sum(matrix, width, rows, weights, used, 1, width, sums)
      },
      Case(name: "head_sums \(name)", shape: shape + ", 4 heads", work: rowWork(format, count: used, numbers: group)) {
        kernels.head_sums(matrix, width, rows, weights, used, scales, bounds, sums)
      },
      Case(name: "widen_rows \(name)", shape: "256 of \(m) rows of \(width)", work: widening) {
        kernels.widen_rows(matrix, width, rows, 256, width, target, 256)
      },
      Case(name: "copy_rows \(name) to f16", shape: "256 of \(m) rows of \(width)", work: copying) {
        kernels.copy_rows(matrix, width, rows, 256, width, target, 512, CKV_F16)
      },
    ]
  }

  /// Rows that lie further away than the second cache.
  private var farRows: [Case] {
    let kernels = kernels.f16
    let vector = memory.floats(width)
    let width = width
    return [("L3", options.sized(4_096, 16_384)), ("memory", options.sized(8_192, 262_144))].flatMap { place, count in
      let matrix = memory.matrix(count * width, .f16)
      let (sums, weights) = (memory.zeros(count), memory.floats(count))
      let (shape, work) = ("\(count) rows of \(width)", rowWork(.f16, count: count))
      return [
        Case(name: "row_dots f16 from \(place)", shape: shape, work: work) {
          kernels.row_dots(matrix, width, nil, count, vector, width, sums)
        },
        Case(name: "row_sum f16 from \(place)", shape: shape, work: work) {
          kernels.row_sum(matrix, width, nil, weights, count, 1, width, sums)
        },
      ]
    }
  }

  // MARK: Encoder

  private var encoder: [Case] {
    let (kernels, count, width) = (kernels, 256, 64)
    let embeddings = memory.floats(count * width)
    let (panels, bias) = (memory.floats(m * width), memory.floats(m))
    let (columns, found) = (memory.zeros(count * 16), memory.counts(Array(repeating: 0, count: count)))
    let weights = memory.floats(m * width)
    let m = m
    func project(_ outputs: Int) -> Case {
      let work = Work(
        operations: Double(count * width * outputs), read: Double(count * width * 4),
        written: Double(count * outputs * 4))
      let shape = "\(count) embeddings of \(width), \(outputs) outputs"
      return Case(name: "project_f32, \(outputs) outputs", shape: shape, work: work) {
        kernels.project_f32(embeddings, width, count, width, panels, bias, outputs, columns, count)
      }
    }
    let routed = Work(
      operations: Double(count * width * m), read: Double(m * width * 4), setByteCount: (m + count) * width * 4)
    let packed = Double(m * width * 4)
    return [
      project(2), project(16),
      Case(name: "route_f32", shape: "\(count) embeddings of \(width), \(m) outputs", work: routed) {
        kernels.route_f32(embeddings, width, count, width, panels, bias, m, found)
      },
      Case(
        name: "pack_panels_f32", shape: "\(m) outputs of \(width)", work: Work(read: packed, written: packed)
      ) { ckv_pack_panels_f32(weights, m, width, panels) },
    ]
  }

  // MARK: One query

  /// Operations of an exponential, as its algorithm has them.
  static let exponentialOperations = 14.0

  private var oneQuery: [Case] {
    let kernels = kernels
    let (n, m, width, used, indices) = (n, m, width, used, indices)
    let count = Double(n)
    let (table, columns, coefficients) = (memory.floats(m), memory.floats(2 * n), memory.floats(2))
    let (scores, values, target) = (memory.zeros(n), memory.floats(n), memory.zeros(width))
    let (basis, sparse) = (memory.floats(16 * width), memory.zeros(m))
    for place in 0..<used { sparse[Int(rows[place])] = 1 }
    let (places, kept) = (memory.counts(Array(repeating: 0, count: m)), memory.zeros(m))
    let marked = memory.room(byteCount: m).bindMemory(to: UInt8.self, capacity: m)
    let shape = "\(n) positions"
    return [
      Case(
        name: "scores_f32", shape: shape + ", table of \(m), d_u = 2",
        work: Work(operations: 4 * count, lookups: count, read: 12 * count + Double(4 * m), written: 4 * count)
      ) { _ = kernels.scores_f32(table, 1, indices, columns, n, coefficients, 2, 0.06, n, scores) },
      Case(
        name: "exp_sum_f32", shape: shape,
        work: Work(operations: (Self.exponentialOperations + 2) * count, read: 4 * count, written: 4 * count)
      ) { BlackHole.take(kernels.exp_sum_f32(values, n, 1).bitPattern) },
      Case(name: "dot_f32", shape: shape, work: Work(operations: count, read: 8 * count)) {
        BlackHole.take(UInt64(kernels.dot_f32(scores, columns, n).bitPattern))
      },
      Case(
        name: "add_rows_f32", shape: "16 rows of \(width)",
        work: Work(operations: Double(16 * width), read: Double(17 * width * 4), written: Double(width * 4))
      ) { kernels.add_rows_f32(basis, width, coefficients, 0, 16, width, target) },
      Case(
        name: "compact_f32", shape: "\(used) of \(m)",
        work: Work(operations: Double(m), read: Double(4 * m), written: Double(8 * used))
      ) { BlackHole.take(UInt64(kernels.compact_f32(sparse, m, places, kept))) },
      Case(
        name: "used_rows_u32", shape: shape + ", \(m) rows",
        work: Work(lookups: count, read: Double(4 * n + m), written: Double(n + m + 4 * used))
      ) { BlackHole.take(UInt64(kernels.used_rows_u32(indices, n, m, marked, places))) },
      Case(name: "first_nonfinite_f32", shape: "\(n) numbers", work: Work(operations: count, read: 4 * count)) {
        BlackHole.take(UInt64(kernels.first_nonfinite_f32(columns, n)))
      },
      Case(name: "max_u32", shape: "\(n) numbers", work: Work(operations: count, read: 4 * count)) {
        BlackHole.take(UInt64(kernels.max_u32(indices, n)))
      },
    ]
  }

  // MARK: Four heads

  private var groups: [Case] {
    let kernels = kernels
    let (n, m, used, indices, rows, group) = (n, m, used, indices, rows, group)
    let count = Double(n)
    let (values, table, own) = (memory.floats(n * group), memory.floats(m * group), memory.floats(n))
    let (sums, weights, sparse) = (memory.zeros(m * group), memory.zeros(n * group), memory.zeros(m * group))
    for place in 0..<used { sparse[Int(rows[place]) * group] = 1 }
    let (places, kept) = (memory.counts(Array(repeating: 0, count: m)), memory.zeros(m * group))
    let spread = memory.floats(used * group)
    let totals = memory.room(byteCount: 8 * group).bindMemory(to: Double.self, capacity: group)
    let all = Double(n * group)
    return [
      Case(
        name: "head_exp_f32", shape: "\(n) rows of 4",
        work: Work(operations: (Self.exponentialOperations + 4) * all, read: 4 * all, written: 4 * all)
      ) { kernels.head_exp_f32(values, n, 1, 15) },
      Case(name: "head_totals_f32", shape: "\(n) rows of 4", work: Work(operations: all, read: 4 * all)) {
        kernels.head_totals_f32(values, n, totals)
      },
      Case(
        name: "compact_heads_f32", shape: "\(used) of \(m) rows of 4",
        work: Work(operations: Double(m * group), read: Double(16 * m), written: Double(20 * used))
      ) { BlackHole.take(UInt64(kernels.compact_heads_f32(sparse, m, places, kept))) },
      Case(
        name: "gather_heads_f32", shape: "\(n) positions, one head of its own",
        work: Work(lookups: count, read: count * 8 + Double(16 * m), written: 16 * count)
      ) { ckv_gather_heads_f32(table, indices, own, n, 1, n, weights) },
      Case(
        name: "scatter_heads_f32", shape: "\(n) positions, one head of its own",
        work: Work(lookups: count, updates: count, read: count * 12 + Double(32 * m), written: 16 * count)
      ) { ckv_scatter_heads_f32(sums, indices, table, indices, own, n, 1, n) },
      Case(
        name: "spread_heads_f32", shape: "\(used) of \(m) rows of 4",
        work: Work(lookups: Double(used), read: Double(20 * used), written: Double(16 * used))
      ) { ckv_spread_heads_f32(spread, rows, used, sums) },
    ]
  }
}
