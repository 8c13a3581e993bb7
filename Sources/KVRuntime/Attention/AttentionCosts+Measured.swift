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
    one: QueryCosts([
      0.124, 0.07328, 0.118, 0.02091, 0.01324, 0.0, 0.707, 0.0, 0.662, 0.112, 1.244, 0.01255, 0.0129, 0.0, 172.604, 0.0,
      0.05752,
    ]),
    group: QueryCosts([
      0.02165, 0.07471, 3.639, 0.01878, 0.01145, 0.0, 0.801, 0.213, 0.687, 0.503, 1.487, 0.01758, 0.02071, 0.0, 334.034,
      0.0, 0.06362,
    ]),
    block: BlockCosts([
      1.535, 0.075, 6.111, 0.143, 0.02701, 0.00902, 1.199, 0.51, 1.38, 0.143, 0.07019, 0.01116, 113.376, 0.0, 0.433,
    ]), tile: 8)
  /// Root mean square of the errors: 0.15, 0.15, 0.24.
  package static let avx2 = AttentionCosts(
    one: QueryCosts([
      0.109, 0.01434, 8.692, 0.00854, 0.01226, 0.0, 1.403, 0.0, 1.142, 0.102, 10.591, 0.01759, 0.02835, 0.0, 216.115,
      0.0, 0.04541,
    ]),
    group: QueryCosts([
      0.0, 0.01471, 12.836, 0.02279, 0.0, 0.0, 1.313, 0.149, 1.212, 0.576, 14.768, 0.00564, 0.06322, 0.0, 276.888, 0.0,
      0.05067,
    ]),
    block: BlockCosts([
      0.18, 0.01988, 10.077, 0.279, 0.0, 0.0145, 0.321, 2.241, 3.218, 0.203, 0.05821, 0.01705, 0.0, 11.069, 0.202,
    ]), tile: 4)
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
  package init(_ numbers: [Double]) {
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
  package init(_ numbers: [Double]) {
    self.init()
    (markPosition, markRow) = (numbers[0], numbers[1])
    (dotRow, dotColumn, dotFarColumn, dotStrayColumn) = (numbers[2], numbers[3], numbers[4], numbers[5])
    (scatterPosition, sweepRow) = (numbers[6], numbers[7])
    (sumRow, sumColumn, sumFarColumn, sumStrayColumn) = (numbers[8], numbers[9], numbers[10], numbers[11])
    (head, position, ownNumber) = (numbers[12], numbers[13], numbers[14])
  }
}
