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

  /// Root mean square of the errors: 0.16, 0.12, 0.18.
  package static let avx512 = AttentionCosts(
    one: QueryCosts(
      markPosition: 0.124, markRow: 0.07328, dotRow: 0.118, dotColumn: 0.02091, dotFarColumn: 0.01324, spreadRow: 0.707,
      scatterPosition: 0.662, sweepRow: 0.112, sumRow: 1.244, sumColumn: 0.01255, sumFarColumn: 0.0129, query: 172.604,
      ownNumber: 0.05752),
    group: QueryCosts(
      markPosition: 0.02165, markRow: 0.07471, dotRow: 3.639, dotColumn: 0.01878, dotFarColumn: 0.01145,
      spreadRow: 0.801, lookUpPosition: 0.213, scatterPosition: 0.687, sweepRow: 0.503, sumRow: 1.487,
      sumColumn: 0.01758, sumFarColumn: 0.02071, query: 334.034, ownNumber: 0.06362),
    block: BlockCosts(
      markPosition: 1.535, markRow: 0.075, dotRow: 6.111, dotColumn: 0.143, dotFarColumn: 0.02701,
      dotStrayColumn: 0.00902, scatterPosition: 1.199, sweepRow: 0.51, sumRow: 1.38, sumColumn: 0.143,
      sumFarColumn: 0.07019, sumStrayColumn: 0.01116, head: 113.376, ownNumber: 0.433), tile: 8)
  /// Root mean square of the errors: 0.15, 0.15, 0.24.
  package static let avx2 = AttentionCosts(
    one: QueryCosts(
      markPosition: 0.109, markRow: 0.01434, dotRow: 8.692, dotColumn: 0.00854, dotFarColumn: 0.01226, spreadRow: 1.403,
      scatterPosition: 1.142, sweepRow: 0.102, sumRow: 10.591, sumColumn: 0.01759, sumFarColumn: 0.02835,
      query: 216.115, ownNumber: 0.04541),
    group: QueryCosts(
      markRow: 0.01471, dotRow: 12.836, dotColumn: 0.02279, spreadRow: 1.313, lookUpPosition: 0.149,
      scatterPosition: 1.212, sweepRow: 0.576, sumRow: 14.768, sumColumn: 0.00564, sumFarColumn: 0.06322,
      query: 276.888, ownNumber: 0.05067),
    block: BlockCosts(
      markPosition: 0.18, markRow: 0.01988, dotRow: 10.077, dotColumn: 0.279, dotStrayColumn: 0.0145,
      scatterPosition: 0.321, sweepRow: 2.241, sumRow: 3.218, sumColumn: 0.203, sumFarColumn: 0.05821,
      sumStrayColumn: 0.01705, position: 11.069, ownNumber: 0.202), tile: 4)
  package static let serial = avx512
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
