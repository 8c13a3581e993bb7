/// Softmax over all heads of one query. One head goes through the identities one after the other; more go in groups of
/// CKV_GROUP that share each pass over pool rows and positions, their numbers side by side. A head without a user part,
/// on either side, has one weight per pool row of the keys, so its exponentials are taken there; the others have theirs
/// position by position. The caller has checked query and range.

internal import CKernels
internal import CacheTypes

extension AttentionLayer {
  /// The attention output of one query over `range`, which is not empty, into `output`, `d_v` numbers.
  ///
  /// - Returns: false if a score is beyond what 32-bit floats hold.
  func softmax(
    _ query: UnsafePointer<Float>, _ keys: SideColumns, _ values: SideColumns, _ range: Range<Int>, scale: Float,
    into output: UnsafeMutablePointer<Float>
  ) -> Bool {
    if shape.heads == 1 {
      let greatest = unsafe score(query, head: 0, keys, range, scale: scale)
      let sum = exponentiate(range.count, greatest: greatest)
      unsafe weigh(head: 0, values, range, scale: Float(1 / sum), into: output)
      return sum.isFinite
    }
    var used: Int?
    for group in paths.groups {
      let table = unsafe prepareWeights(query, group, keys, range, scale: scale, &used)
      guard unsafe weigh(group, table, values, range, into: output) else { return false }
    }
    return true
  }

  /// What a group's weights are read from: rows of CKV_GROUP, one per pool row that `indices` name or one per position;
  /// the group's first heads have theirs in the scratch's scores instead, head after head.
  @unsafe
  private struct Weights {
    /// Read only where a candidate's table stands here.
    let table: UnsafeMutablePointer<Float>
    let indices: UnsafePointer<UInt32>?
  }

  /// Exponentials of the scores of every head of the group, each less its head's greatest.
  private func prepareWeights(
    _ query: UnsafePointer<Float>, _ group: HeadGroup, _ keys: SideColumns, _ range: Range<Int>, scale: Float,
    _ used: inout Int?
  ) -> Weights {
    let result = unsafe products(query, group, keys, range, scale: scale, &used)
    for place in 0..<group.ownCount {
      let slice = HeadSlice(group.heads.lowerBound + place, of: shape.heads, shape.key)
      let own = unsafe ownPart(query, slice, keys)
      let scores = unsafe scratch.scores + place * range.count
      let greatest = unsafe kernels.scores_f32(
        result.table + place, HeadGroup.size, result.indices, own.columns + range.lowerBound, keys.count,
        own.coefficients, slice.user.count, scale, range.count, scores)
      _ = unsafe kernels.exp_sum_f32(scores, range.count, greatest)
    }
    return unsafe result
  }

  /// The dot products with pool rows; exponentials already where a head has no user part. `used` is how many rows the
  /// scratch lists, once it does: the groups of a query share the list. Queries do not, since the columns of a
  /// selection may stand where those of the one before stood.
  private func products(
    _ query: UnsafePointer<Float>, _ group: HeadGroup, _ keys: SideColumns, _ range: Range<Int>, scale: Float,
    _ used: inout Int?
  ) -> Weights {
    let shape = unsafe keys.shape
    let indices = unsafe keys.indices + range.lowerBound
    let poolQuery = unsafe query + (shape.isAdditive ? 0 : shape.userWidth)
    let made = unsafe scratch.candidate.map {
      unsafe $0 + CandidateTables.Place(head: group.heads.lowerBound, of: self.shape).start
    }
    if let made = unsafe made, group.sharedHeads == 0 {
      return unsafe Weights(table: UnsafeMutablePointer(mutating: made), indices: indices)
    }
    func fill(_ rows: UnsafePointer<UInt32>?, _ count: Int, _ target: UnsafeMutablePointer<Float>) {
      if let made = unsafe made {
        unsafe ckv_gather_heads_f32(made, rows, made, 0, 0, count, target)
      } else {
        unsafe keys.kernels.head_dots(keys.pool, shape.poolWidth, rows, count, poolQuery, group.keyBounds, target)
      }
      if group.sharedHeads != 0 { unsafe kernels.head_exp_f32(target, count, scale, group.sharedHeads) }
    }
    let path = paths.scores(range.count, byHead: false)
    if path == .gather {
      unsafe fill(indices, range.count, scratch.products)
      return unsafe Weights(table: scratch.products, indices: nil)
    }
    if path == .allRows {
      // Rows that no position names must not take part in a head's greatest score, but for a way that is taken
      // where hardly any are left out, look for them only if a head's weights are taken per row.
      guard group.sharedHeads != 0 else {
        unsafe fill(nil, shape.poolRows, scratch.table)
        return unsafe Weights(table: scratch.table, indices: indices)
      }
    }
    let count = unsafe used ?? findUsedRows(indices, range.count, shape)
    used = count
    if count == shape.poolRows {
      unsafe fill(nil, count, scratch.table)
    } else {
      unsafe fill(scratch.usedRows, count, scratch.products)
      unsafe ckv_spread_heads_f32(scratch.products, scratch.usedRows, count, scratch.table)
    }
    return unsafe Weights(table: scratch.table, indices: indices)
  }

  /// The sum of the values in `range` by the weights, each head's divided by the sum of its weights.
  ///
  /// - Returns: false if a sum of weights is not finite.
  private func weigh(
    _ group: HeadGroup, _ source: Weights, _ values: SideColumns, _ range: Range<Int>,
    into output: UnsafeMutablePointer<Float>
  ) -> Bool {
    let shape = unsafe values.shape
    let indices = unsafe values.indices + range.lowerBound
    let own = unsafe UnsafePointer(scratch.scores)
    var rows = unsafe indices
    var weights = unsafe scratch.weights
    var count = range.count
    if paths.sums(range.count, byHead: false) == .rowSums {
      unsafe scratch.sums.update(repeating: 0, count: shape.poolRows * HeadGroup.size)
      unsafe ckv_scatter_heads_f32(
        scratch.sums, indices, source.table, source.indices, own, count, group.ownCount, count)
      count = unsafe kernels.compact_heads_f32(scratch.sums, shape.poolRows, scratch.rows, weights)
      unsafe rows = UnsafePointer(scratch.rows)
    } else if unsafe group.ownCount == 0 && source.indices == nil {
      unsafe weights = source.table
    } else {
      unsafe ckv_gather_heads_f32(source.table, source.indices, own, count, group.ownCount, count, weights)
    }
    unsafe kernels.head_totals_f32(weights, count, scratch.totals)
    let scales = unsafe scratch.scales
    for place in 0..<HeadGroup.size {
      let total = unsafe scratch.totals[place]
      guard place >= group.heads.count || total.isFinite else { return false }
      unsafe scales[place] = Float(1 / total)
    }
    let target = unsafe output + (shape.isAdditive ? 0 : shape.userWidth)
    unsafe values.kernels.head_sums(
      values.pool, shape.poolWidth, rows, weights, count, scales, group.valueBounds, target)
    for place in 0..<group.ownCount {
      let slice = HeadSlice(group.heads.lowerBound + place, of: self.shape.heads, value)
      unsafe weighOwnPart(slice, values, own + place * range.count, range, scale: scales[place], into: output)
    }
    return true
  }
}

/// Heads that share passes.
struct HeadGroup {
  /// CKV_GROUP.
  static let size = Int(CKV_GROUP)

  /// CKV_GROUP heads, or the fewer that are left.
  let heads: Range<Int>
  /// So many of the first of them have a user part on one side or both, and with it a weight per position.
  let ownCount: Int
  /// Where each head's pool columns begin, and where the last one's end. Missing heads have none.
  let keyBounds: [Int]
  let valueBounds: [Int]

  init(_ first: Int, of shape: LayerShape, _ value: PartShape) {
    let heads = first..<min(first + HeadGroup.size, shape.heads)
    func bounds(_ part: PartShape) -> [Int] {
      unsafe [Int](unsafeUninitializedCapacity: HeadGroup.size + 1) { bounds, count in
        for place in 0..<HeadGroup.size {
          let slice = HeadSlice(min(first + place, heads.upperBound - 1), of: shape.heads, part)
          unsafe bounds[place] = first + place < heads.upperBound ? slice.pool.lowerBound : slice.pool.upperBound
          unsafe bounds[place + 1] = slice.pool.upperBound
        }
        count = HeadGroup.size + 1
      }
    }
    func hasOwn(_ head: Int) -> Bool {
      !HeadSlice(head, of: shape.heads, shape.key).user.isEmpty || !HeadSlice(head, of: shape.heads, value).user.isEmpty
    }
    self.heads = heads
    // In the concatenated form user parts come first; in the additive form every head has one or none does.
    ownCount = heads.prefix(while: hasOwn).count
    keyBounds = bounds(shape.key)
    valueBounds = bounds(value)
  }

  /// A bit per head whose weights hang on the pool row alone.
  var sharedHeads: UInt32 { (1 << UInt32(heads.count) - 1) & ~(1 << UInt32(ownCount) - 1) }
}
