/// The coefficients that were measured.

internal import CKernels

extension AttentionCosts {
  /// Those of the level in use.
  static var active: AttentionCosts {
    let kernels = unsafe ckv_kernels_active()
    if unsafe kernels == ckv_kernels_at(CKV_AVX512) { return avx512 }
    if unsafe kernels == ckv_kernels_at(CKV_AVX2) { return avx2 }
    return serial
  }

  /// Those that sums are chosen by, whatever level is in use.
  static let forSums = avx512

  /// Root mean square of the errors: 0.12, 0.12, 0.16
  package static let avx512 = AttentionCosts(
    one: QueryCosts(
      markPosition: 0.144, markRow: 0.078, dotRow: 0.249, dotColumn: 0.02, dotFarColumn: 0.01, spreadRow: 0.637,
      scatterPosition: 0.701, sweepRow: 0.116, sumRow: 1.258, sumColumn: 0.014, sumFarColumn: 0.014, query: 183.0,
      ownNumber: 0.055),
    group: QueryCosts(
      markPosition: 0.166, markRow: 0.074, dotRow: 3.84, dotColumn: 0.019, dotFarColumn: 0.025, spreadRow: 0.702,
      lookUpPosition: 0.211, scatterPosition: 0.539, sweepRow: 0.508, sumRow: 1.273, sumColumn: 0.018,
      sumFarColumn: 0.008, query: 308.0, ownNumber: 0.064),
    block: BlockCosts(
      markPosition: 1.666, markRow: 0.078, dotRow: 6.357, dotColumn: 0.143, dotFarColumn: 0.03, dotStrayColumn: 0.006,
      scatterPosition: 1.202, sweepRow: 0.359, sumRow: 1.278, sumColumn: 0.147, sumFarColumn: 0.066,
      sumStrayColumn: 0.012, head: 52.0, ownNumber: 0.414), tile: 8)
  /// Root mean square of the errors: 0.2, 0.17, 0.2
  package static let avx2 = AttentionCosts(
    one: QueryCosts(
      markPosition: 0.095, markRow: 0.014, dotRow: 8.26, dotColumn: 0.009, dotFarColumn: 0.022, spreadRow: 1.528,
      scatterPosition: 1.131, sweepRow: 0.1, sumRow: 11.0, sumColumn: 0.018, sumFarColumn: 0.024, query: 176.0,
      ownNumber: 0.043),
    group: QueryCosts(
      markRow: 0.014, dotRow: 13.0, dotColumn: 0.021, spreadRow: 1.391, lookUpPosition: 0.219, scatterPosition: 1.171,
      sweepRow: 0.601, sumRow: 15.0, sumColumn: 0.006, sumFarColumn: 0.065, query: 266.0, ownNumber: 0.047),
    block: BlockCosts(
      markRow: 0.018, dotRow: 10.0, dotColumn: 0.425, dotStrayColumn: 0.004, scatterPosition: 0.492, sweepRow: 2.15,
      sumRow: 3.311, sumColumn: 0.335, sumFarColumn: 0.088, sumStrayColumn: 0.012, head: 15.0, position: 11.0,
      ownNumber: 0.185), tile: 4)
  /// Root mean square of the errors: 0.06, 0.04, 0.27
  package static let serial = AttentionCosts(
    one: QueryCosts(
      markRow: 0.186, dotRow: 21.0, dotColumn: 2.243, dotFarColumn: 0.162, dotStrayColumn: 0.13, scatterPosition: 9.832,
      sweepRow: 0.374, sumColumn: 3.082, sumFarColumn: 0.559, query: 248.0, position: 14.0),
    group: QueryCosts(
      markPosition: 0.025, markRow: 0.259, dotRow: 40.0, dotColumn: 2.651, spreadRow: 4.59, scatterPosition: 5.049,
      sweepRow: 0.994, sumColumn: 3.082, sumFarColumn: 0.32, query: 290.0, position: 13.0),
    block: BlockCosts(
      markPosition: 34.0, markRow: 0.146, dotRow: 219.0, dotColumn: 17.0, dotStrayColumn: 0.306, scatterPosition: 25.0,
      sumRow: 22.0, sumColumn: 18.0, sumStrayColumn: 0.121, head: 1187.0, position: 206.0), tile: 1)
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
    "sumRow", "sumColumn", "sumFarColumn", "sumStrayColumn", "head", "position", "ownNumber",
  ]

  /// The coefficients in the order of their names.
  package init(numbers: [Double]) {
    self.init()
    (markPosition, markRow) = (numbers[0], numbers[1])
    (dotRow, dotColumn, dotFarColumn, dotStrayColumn) = (numbers[2], numbers[3], numbers[4], numbers[5])
    (scatterPosition, sweepRow) = (numbers[6], numbers[7])
    (sumRow, sumColumn, sumFarColumn, sumStrayColumn) = (numbers[8], numbers[9], numbers[10], numbers[11])
    (head, position, ownNumber) = (numbers[12], numbers[13], numbers[14])
  }
}
