/// Hash codes of keys and queries, one bit per rotation: the sign of a dot product with the whole key. The keys' come
/// from the compressed form, (P_k R_c^T)[I_k] + R_u u_k, rotation by rotation: a rotation is scored like a query.

internal import CKernels
internal import CacheTypes

/// The codes of one user's positions. A code has the groups' bits in words of their own, so that a group's codes can be
/// compared word by word.
@safe
final class HashCodes {
  let groups: Int
  /// 64-bit words of one group's code.
  let words: Int
  private let rotations: HashRotations
  private let width: Int
  private let positions: Range<Int>
  /// One head over the whole key.
  private let layer: AttentionLayer
  /// Group by group, `positions.count x words`; then one query's code, `groups x words`.
  private let codes: UnsafeMutablePointer<UInt64>
  private let queryCode: UnsafeMutablePointer<UInt64>
  private let queryDots: AlignedFloats

  /// - Parameter positions: what is hashed at most.
  init(
    _ rotations: HashRotations, _ shape: LayerShape, _ tensors: LayerTensors, positions: Range<Int>
  ) throws(StoreError) {
    layer = try AttentionLayer(
      LayerShape(key: shape.key, value: shape.value, heads: 1), tensors, longestRange: positions.count)
    self.rotations = rotations
    self.positions = positions
    width = shape.key.width
    groups = rotations.groups
    words = (rotations.bits + 63) / 64
    unsafe codes = .allocate(capacity: max(groups * words * positions.count, 1))
    unsafe queryCode = .allocate(capacity: groups * words)
    queryDots = AlignedFloats(repeating: 0, count: groups * rotations.bits)
  }

  deinit {
    unsafe codes.deallocate()
    unsafe queryCode.deallocate()
  }

  /// Hashes the keys in `range`.
  func encode(_ keys: SideColumns, _ range: Range<Int>) {
    precondition(range.lowerBound >= positions.lowerBound && range.upperBound <= positions.upperBound)
    unsafe rotations.values.withUnsafeBufferPointer { vectors in
      for group in 0..<groups {
        let target = unsafe codes + (group * positions.count + range.lowerBound - positions.lowerBound) * words
        unsafe target.update(repeating: 0, count: range.count * words)
        for bit in 0..<rotations.bits {
          let vector = unsafe vectors.baseAddress! + (group * rotations.bits + bit) * width
          _ = unsafe layer.score(vector, head: 0, keys, range, scale: 1)
          unsafe ckv_set_signs_u64(layer.scratch.scores, range.count, bit, words, target)
        }
      }
    }
  }

  /// Hashes a query of `d_k` numbers.
  func encode(query: UnsafePointer<Float>) {
    unsafe rotations.values.withUnsafeBufferPointer { vectors in
      unsafe Kernels.active.f32.row_dots(
        vectors.baseAddress!, width, nil, groups * rotations.bits, query, width, queryDots.pointer)
    }
    unsafe queryCode.update(repeating: 0, count: groups * words)
    for group in 0..<groups {
      for bit in 0..<rotations.bits {
        unsafe ckv_set_signs_u64(
          queryDots.pointer + group * rotations.bits + bit, 1, bit, words, queryCode + group * words)
      }
    }
  }

  /// The query's code in a group.
  func query(group: Int) -> UnsafePointer<UInt64> { unsafe UnsafePointer(queryCode + group * words) }

  /// The codes of a group from a position on.
  func keys(group: Int, from position: Int) -> UnsafePointer<UInt64> {
    unsafe UnsafePointer(codes + (group * positions.count + position - positions.lowerBound) * words)
  }
}
