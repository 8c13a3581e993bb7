/// The value side of a block: weights are added up per pool row or taken position by position, rows are weighted for
/// all queries at once, and what came out is looked through for queries that have to be done alone.

internal import CKernels
internal import CacheTypes

extension BlockPass {
  /// The heads of one group.
  func attend(_ first: Int, _ layer: borrowing AttentionLayer) {
    let group = layer.paths.groups[first / HeadGroup.size]
    let isByHead = unsafe layer.shape.heads == 1 || function.isByHead
    let sumStride = unsafe (valueRows?.count ?? 0) * QueryBlocks.size
    for head in group.heads {
      let place = head - first
      let weights = unsafe weights(head, hasOwn: isByHead || place < group.ownCount, layer)
      let own = unsafe scratch.ownSums + place * values.shape.userWidth * QueryBlocks.size
      let slice = HeadSlice(head, of: layer.shape.heads, layer.value)
      if !slice.user.isEmpty { unsafe addColumns(slice, weights.table, own) }
      if let rows = unsafe valueRows {
        let sums = unsafe scratch.sums + place * sumStride
        unsafe addUp(weights, rows, sums)
        if isByHead {
          unsafe vanishing |= kernels.empty_rows(sums, 1, 0, rows.count)
          unsafe weigh(slice, rows.list, sums, rows.count, own, layer)
        }
      } else {
        let table = unsafe perPosition(weights)
        if !isByHead { unsafe kernels.totals(table, positions, scratch.totals) }
        unsafe spreadOwn(table)
        unsafe weigh(slice, valueIndices, table, listed, own, layer)
      }
    }
    guard let rows = unsafe valueRows, !isByHead else { return }
    unsafe weighTogether(group, rows, sumStride, layer)
  }

  /// Positions that some query sees.
  private var listed: Int { unsafe ownFirst == nil ? positions : shared + block.count }

  /// Heads of a softmax, which leave out the rows that none of them has a weight for.
  private func weighTogether(
    _ group: HeadGroup, _ rows: Rows, _ sumStride: Int, _ layer: borrowing AttentionLayer
  ) {
    let size = QueryBlocks.size
    let empty = unsafe kernels.empty_rows(scratch.sums, group.heads.count, sumStride, rows.count)
    unsafe vanishing |= empty
    let partial = unsafe empty & (1 << UInt32(block.count) - 1)
    if partial != 0 {
      unsafe ckv_compact_totals_f32(
        scratch.sums, group.heads.count, sumStride, rows.count, partial, scratch.headTotals)
    }
    for head in group.heads {
      let place = head - group.heads.lowerBound
      let sums = unsafe scratch.sums + place * sumStride
      unsafe kernels.totals(sums, rows.count, scratch.totals)
      for query in unsafe 0..<block.count where partial & 1 << UInt32(query) != 0 {
        unsafe scratch.totals[query] = scratch.headTotals[place * size + query]
      }
      unsafe weigh(
        HeadSlice(head, of: layer.shape.heads, layer.value), rows.list, sums, rows.count,
        scratch.ownSums + place * values.shape.userWidth * size, layer)
    }
  }

  /// Weighted sums of the head's user columns.
  private func addColumns(_ slice: HeadSlice, _ table: UnsafePointer<Float>, _ sums: UnsafeMutablePointer<Float>) {
    let column = unsafe values.user + slice.user.lowerBound * values.count
    var last: UnsafePointer<Float>?
    if let first = unsafe ownFirst {
      for dimension in 0..<slice.user.count {
        for query in unsafe 0..<block.count {
          unsafe scratch.last[dimension * QueryBlocks.size + query] = column[dimension * values.count + first + query]
        }
      }
      unsafe last = UnsafePointer(scratch.last)
    }
    unsafe kernels.column_sums(
      table, column + block.range.lowerBound, values.count, slice.user.count, last == nil ? positions : shared, last,
      sums)
  }

  /// Weights per listed row.
  private func addUp(
    _ weights: (table: UnsafePointer<Float>, indices: UnsafePointer<UInt32>?), _ rows: Rows,
    _ sums: UnsafeMutablePointer<Float>
  ) {
    let size = QueryBlocks.size
    guard let ranks = unsafe rows.ranks else { preconditionFailure("listed rows come with ranks") }
    unsafe sums.update(repeating: 0, count: rows.count * size)
    unsafe kernels.scatter(sums, ranks, weights.table, weights.indices, ownFirst == nil ? positions : shared)
    guard unsafe ownFirst != nil else { return }
    for query in unsafe 0..<block.count {
      unsafe sums[Int(ranks[shared + query]) * size + query] += weights.table[shared * size + query]
    }
  }

  /// The weights of every position, one after the other.
  private func perPosition(
    _ weights: (table: UnsafePointer<Float>, indices: UnsafePointer<UInt32>?)
  ) -> UnsafePointer<Float> {
    guard let indices = unsafe weights.indices else { return unsafe weights.table }
    unsafe ckv_gather_blocks_f32(weights.table, indices, positions, scratch.weights)
    return unsafe UnsafePointer(scratch.weights)
  }

  /// Gives each position that a query has to itself a row of weights, 0 for the others, in place of the one row that
  /// holds them all; marks the queries for which weights of 0 were put in.
  private func spreadOwn(_ table: UnsafePointer<Float>) {
    guard unsafe ownFirst != nil, unsafe block.count > 1 else { return }
    let (size, count) = unsafe (QueryBlocks.size, block.count)
    let rows = unsafe scratch.weights + shared * size
    precondition(unsafe table == UnsafePointer(scratch.weights), "queries that differ have weights per position")
    unsafe scratch.scales.update(from: rows, count: size)
    unsafe rows.update(repeating: 0, count: count * size)
    for query in 0..<count { unsafe rows[query * size + query] = scratch.scales[query] }
    unsafe vanishing |= 0xFFFF
  }

  /// The head's part of the outputs: by the scratch's totals, or by the function's own factor.
  private func weigh(
    _ slice: HeadSlice, _ rows: UnsafePointer<UInt32>, _ weights: UnsafePointer<Float>, _ count: Int,
    _ own: UnsafePointer<Float>, _ layer: borrowing AttentionLayer
  ) {
    let width = layer.value.width
    for query in unsafe 0..<block.count {
      if case .silu(let factor, _) = unsafe function {
        unsafe scratch.scales[query] = factor
        continue
      }
      let total = unsafe scratch.totals[query]
      if !total.isFinite { unsafe failed |= 1 << UInt32(query) }
      unsafe scratch.scales[query] = Float(1 / total)
    }
    unsafe valueKernels.block_sums(
      values.poolColumn(slice.pool.lowerBound), values.shape.poolWidth, rows, weights, count, scratch.scales,
      block.count, slice.pool.count, output + slice.poolColumns.lowerBound, width)
    guard !slice.user.isEmpty else { return }
    for query in unsafe 0..<block.count {
      let target = unsafe output + query * width
      let sums = unsafe values.shape.isAdditive ? scratch.own : target + slice.user.lowerBound
      for place in 0..<slice.user.count {
        unsafe sums[place] = scratch.scales[query] * own[place * QueryBlocks.size + query]
      }
      if unsafe values.shape.isAdditive {
        unsafe layer.kernels.add_rows_f32(
          values.basis + slice.columns.lowerBound, values.shape.poolWidth, sums, 1, slice.user.count,
          slice.columns.count, target + slice.columns.lowerBound)
      }
    }
  }

  // MARK: What came of it

  func outcome(_ layer: borrowing AttentionLayer) -> BlockOutcome {
    let width = layer.value.width
    var outcome = unsafe BlockOutcome(failed: failed)
    for query in unsafe 0..<block.count {
      let bit: UInt32 = 1 << UInt32(query)
      let row = unsafe output + query * width
      let hasMore = unsafe vanishing & bit != 0 || Int(scratch.counts[query]) < positions
      if unsafe hasMore && Self.isDoubtful(row, width) {
        outcome.alone |= bit
      } else if case .silu = unsafe function, unsafe layer.kernels.first_nonfinite_f32(row, width) != width {
        outcome.failed |= bit
      }
    }
    return outcome
  }

  /// Whether some number is 0 or not finite.
  private static func isDoubtful(_ numbers: UnsafePointer<Float>, _ count: Int) -> Bool {
    for place in 0..<count where unsafe !(numbers[place].magnitude > 0 && numbers[place].isFinite) { return true }
    return false
  }
}
