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

  package static let avx512 = AttentionCosts(
    one: QueryCosts([0.2, 0.125, 0.5, 0.011, 0.005, 0.3, 0.3, 0.33, 0.3, 0.5, 0.011, 0.005, 300, 0.6, 0.05]),
    group: QueryCosts([0.2, 0.125, 1, 0.011, 0.005, 0.3, 0.5, 0.5, 0.5, 0.5, 0.011, 0.005, 300, 0.6, 0.05]),
    block: BlockCosts([0.5, 0.2, 2, 0.12, 0.01, 1.1, 1, 2, 0.12, 0.01, 100, 3.6, 0.5]), tile: 8)
  package static let avx2 = avx512
  package static let serial = avx512
}

extension QueryCosts {
  init(_ numbers: [Double]) {
    self.init()
    (markPosition, markRow) = (numbers[0], numbers[1])
    (dotRow, dotColumn, dotFarColumn) = (numbers[2], numbers[3], numbers[4])
    (spreadRow, lookUpPosition, scatterPosition, sweepRow) = (numbers[5], numbers[6], numbers[7], numbers[8])
    (sumRow, sumColumn, sumFarColumn) = (numbers[9], numbers[10], numbers[11])
    (query, position, ownNumber) = (numbers[12], numbers[13], numbers[14])
  }
}

extension BlockCosts {
  init(_ numbers: [Double]) {
    self.init()
    (markPosition, markRow) = (numbers[0], numbers[1])
    (dotRow, dotColumn, dotFarColumn) = (numbers[2], numbers[3], numbers[4])
    (scatterPosition, sweepRow) = (numbers[5], numbers[6])
    (sumRow, sumColumn, sumFarColumn) = (numbers[7], numbers[8], numbers[9])
    (head, position, ownNumber) = (numbers[10], numbers[11], numbers[12])
  }
}
