/// The coefficients that were measured, one set per level of the kernels: AVX-512, AVX2 and serial code on one AMD EPYC
/// (family 26) at 4.3 GHz with 1 MiB of second-level cache, f16 pools whose rows are used alike. The benchmark
/// `AttendPaths` fits them to the times of every way through its grid and prints them in this form; a coefficient that
/// is left out is 0. They are shares of whole calls, not times of single kernels: what always comes together is not
/// told apart.

internal import CKernels

extension AttentionCosts {
  /// Those of the level in use.
  static var active: AttentionCosts {
    switch activeLevel {
    case Int(CKV_AVX512.rawValue): avx512
    case Int(CKV_AVX2.rawValue): avx2
    default: serial
    }
  }

  /// The kernels' level.
  static var activeLevel: Int {
    let kernels = unsafe ckv_kernels_active()
    if unsafe kernels == ckv_kernels_at(CKV_AVX512) { return Int(CKV_AVX512.rawValue) }
    return unsafe kernels == ckv_kernels_at(CKV_AVX2) ? Int(CKV_AVX2.rawValue) : Int(CKV_SERIAL.rawValue)
  }

  /// Those that sums are chosen by, whatever level is in use.
  static let forSums = avx512

  /// Root mean squares of the errors: 0.16 of one head, 0.12 of a group, 0.18 of blocks.
  package static let avx512 = AttentionCosts(
    one: QueryCosts(
      markPosition: 0.124, markRow: 0.076, dotRow: 0.237, dotColumn: 0.02, dotFarColumn: 0.019, spreadRow: 0.762,
      scatterPosition: 0.726, sweepRow: 0.124, sumRow: 1.231, sumColumn: 0.014, sumFarColumn: 0.009, query: 175.0,
      ownNumber: 0.058),
    group: QueryCosts(
      markPosition: 0.033, markRow: 0.082, dotRow: 3.867, dotColumn: 0.019, dotFarColumn: 0.011, spreadRow: 0.814,
      lookUpPosition: 0.225, scatterPosition: 0.698, sweepRow: 0.529, sumRow: 1.788, sumColumn: 0.017,
      sumFarColumn: 0.023, query: 330.0, ownNumber: 0.064),
    block: BlockCosts(
      markPosition: 1.623, markRow: 0.076, dotRow: 6.599, dotColumn: 0.142, dotFarColumn: 0.021, scatterPosition: 1.184,
      sweepRow: 0.558, sumRow: 1.511, sumColumn: 0.142, sumFarColumn: 0.098, sumStrayColumn: 0.008, block: 342.0,
      query: 108.0, head: 31.0, ownNumber: 0.484), tile: 8)

  /// Root mean squares of the errors: 0.19 of one head, 0.16 of a group, 0.2 of blocks.
  package static let avx2 = AttentionCosts(
    one: QueryCosts(
      markPosition: 0.113, markRow: 0.014, dotRow: 8.569, dotColumn: 0.01, dotFarColumn: 0.018, spreadRow: 1.532,
      scatterPosition: 1.177, sweepRow: 0.103, sumRow: 11.0, sumColumn: 0.019, sumFarColumn: 0.033, query: 177.0,
      ownNumber: 0.044),
    group: QueryCosts(
      markRow: 0.014, dotRow: 13.0, dotColumn: 0.023, spreadRow: 1.445, scatterPosition: 1.339, sweepRow: 0.607,
      sumRow: 15.0, sumColumn: 0.006, sumFarColumn: 0.069, query: 251.0, ownNumber: 0.059),
    block: BlockCosts(
      markRow: 0.019, dotRow: 11.0, dotColumn: 0.401, dotStrayColumn: 0.018, scatterPosition: 0.092, sweepRow: 2.491,
      sumRow: 2.749, sumColumn: 0.335, sumFarColumn: 0.113, sumStrayColumn: 0.022, block: 599.0, query: 165.0,
      position: 12.0, ownNumber: 0.31), tile: 4)

  /// Root mean squares of the errors: 0.07 of one head, 0.04 of a group, 0.07 of blocks.
  package static let serial = AttentionCosts(
    one: QueryCosts(
      markRow: 0.198, dotRow: 16.0, dotColumn: 2.565, scatterPosition: 9.566, sweepRow: 0.383, sumColumn: 3.185,
      sumFarColumn: 0.585, query: 189.0, position: 13.0),
    group: QueryCosts(
      markPosition: 0.004, markRow: 0.265, dotRow: 52.0, dotColumn: 2.739, dotFarColumn: 0.577, spreadRow: 4.294,
      scatterPosition: 6.664, sweepRow: 1.037, sumColumn: 3.211, query: 274.0, position: 12.0),
    block: BlockCosts(
      markPosition: 5.01, markRow: 0.175, dotRow: 199.0, dotColumn: 40.0, dotFarColumn: 3.489, dotStrayColumn: 0.404,
      scatterPosition: 9.496, sweepRow: 14.0, sumRow: 72.0, sumColumn: 27.0, sumFarColumn: 0.261, sumStrayColumn: 0.322,
      block: 1530.0, head: 544.0, position: 362.0), tile: 1)
}

extension QueryCosts {
  package static let count = names.count
  package static let names = [
    "markPosition", "markRow", "dotRow", "dotColumn", "dotFarColumn", "dotStrayColumn", "spreadRow", "lookUpPosition",
    "scatterPosition", "sweepRow", "sumRow", "sumColumn", "sumFarColumn", "sumStrayColumn", "query", "position",
    "ownNumber",
  ]

  /// The coefficients in the order of their names.
  package init(numbers: [Double]) {
    self.init()
    (markPosition, markRow) = (numbers[0], numbers[1])
    (dotRow, dotColumn, dotFarColumn, dotStrayColumn) = (numbers[2], numbers[3], numbers[4], numbers[5])
    (spreadRow, lookUpPosition, scatterPosition, sweepRow) = (numbers[6], numbers[7], numbers[8], numbers[9])
    (sumRow, sumColumn, sumFarColumn, sumStrayColumn) = (numbers[10], numbers[11], numbers[12], numbers[13])
    (query, position, ownNumber) = (numbers[14], numbers[15], numbers[16])
  }
}

extension BlockCosts {
  package static let count = names.count
  package static let names = [
    "markPosition", "markRow", "dotRow", "dotColumn", "dotFarColumn", "dotStrayColumn", "scatterPosition", "sweepRow",
    "sumRow", "sumColumn", "sumFarColumn", "sumStrayColumn", "block", "query", "head", "position", "ownNumber",
  ]

  /// The coefficients in the order of their names.
  package init(numbers: [Double]) {
    self.init()
    (markPosition, markRow) = (numbers[0], numbers[1])
    (dotRow, dotColumn, dotFarColumn, dotStrayColumn) = (numbers[2], numbers[3], numbers[4], numbers[5])
    (scatterPosition, sweepRow) = (numbers[6], numbers[7])
    (sumRow, sumColumn, sumFarColumn, sumStrayColumn) = (numbers[8], numbers[9], numbers[10], numbers[11])
    (block, query, head) = (numbers[12], numbers[13], numbers[14])
    (position, ownNumber) = (numbers[15], numbers[16])
  }
}
