/// Several queries side by side: a number of a pool row is read once for many of them, and a position's weights move as
/// one vector. Every query goes through the operations that it goes through alone, in their order, so its output is the
/// same bits. It goes through some more: products with a weight of 0, of rows that it leaves without weight and of
/// positions that only its neighbours see. They change nothing unless a sum is 0 (-0 becomes 0) or a number is not
/// finite, which its output shows: such a query is done alone. Scores and weights are here, outputs in
/// `BlockPass+Values.swift`.

internal import CKernels
internal import CacheTypes

extension AttentionLayer {
  /// The attention outputs of a block into `output`, `count x d_v` numbers.
  func attend(
    _ block: QueryBlock, _ weights: BlockWeights, _ columns: AttendedColumns, _ scratch: BlockScratch,
    into output: UnsafeMutablePointer<Float>
  ) -> BlockOutcome {
    let pass = unsafe BlockPass(self, block, weights, columns, scratch, into: output)
    for first in stride(from: 0, to: shape.heads, by: HeadGroup.size) { unsafe pass.attend(first, self) }
    return unsafe pass.outcome(self)
  }
}

/// One block over one range.
@unsafe
final class BlockPass {
  /// Pool rows that are read, and the place of each listed position's row among them.
  @unsafe
  struct Rows {
    let list: UnsafePointer<UInt32>
    let count: Int
    let ranks: UnsafePointer<UInt32>?
  }

  let block: QueryBlock
  let function: BlockWeights
  let keys: SideColumns
  let values: SideColumns
  let scratch: BlockScratch
  let output: UnsafeMutablePointer<Float>
  let kernels: ckv_block_kernels
  let keyKernels: ckv_block_row_kernels
  let valueKernels: ckv_block_row_kernels
  /// Positions that a query sees at most, and those that all queries see.
  let positions: Int
  let shared: Int
  /// Whether all queries see all positions.
  let isUniform: Bool
  /// The first of the positions that the queries have to themselves.
  let ownFirst: Int?
  /// One pool index per position that some query sees: where queries have one to themselves, those come last.
  let keyIndices: UnsafePointer<UInt32>
  let valueIndices: UnsafePointer<UInt32>
  /// The keys' rows; without ranks a row per position.
  let keyRows: Rows
  /// The values' rows where weights are added up first; `nil`: values are read position by position.
  let valueRows: Rows?
  /// A bit per query with a sum of weights that is not finite.
  var failed: UInt32 = 0
  /// A bit per query that passes over weights of 0 which it does not meet alone.
  var vanishing: UInt32 = 0

  init(
    _ layer: borrowing AttentionLayer, _ block: QueryBlock, _ function: BlockWeights, _ columns: AttendedColumns,
    _ scratch: BlockScratch, into output: UnsafeMutablePointer<Float>
  ) {
    let (keys, values) = unsafe (columns.keys, columns.values)
    unsafe (self.block, self.keys, self.values) = (block, keys, values)
    unsafe (self.function, self.scratch, self.output) = (function, scratch, output)
    let kernels = Kernels.activeBlocks
    unsafe self.kernels = kernels
    unsafe keyKernels = kernels.rows(of: keys.element)
    unsafe valueKernels = kernels.rows(of: values.element)
    let range = unsafe block.range
    let positions = range.count
    unsafe self.positions = positions
    let listsKeys = layer.paths.blockListsKeys(positions)
    let addsUp = layer.paths.sums(positions, byHead: function.isByHead) == .rowSums
    var listed = positions
    switch unsafe block.view {
    case .first(let counts):
      unsafe (shared, ownFirst) = (counts.min()!, nil)
    case .own(let first):
      unsafe (shared, ownFirst) = (positions - 1, first)
      listed += unsafe block.count - 1
    }
    unsafe isUniform = unsafe shared == positions
    unsafe scratch.layOut(
      BlockScratch.Need(
        positions: listed, keyRows: listsKeys ? keys.shape.poolRows : 0, valueRows: addsUp ? values.shape.poolRows : 0,
        heads: min(layer.shape.heads, HeadGroup.size), dimensions: max(keys.shape.userWidth, values.shape.userWidth)))
    unsafe scratch.setCounts(block, positions)
    let isShared = unsafe keys.indices == values.indices
    unsafe keyIndices = unsafe Self.indices(keys, block, scratch.keyIndices)
    unsafe valueIndices = unsafe isShared ? keyIndices : Self.indices(values, block, scratch.valueIndices)
    func list(
      _ side: SideColumns, _ indices: UnsafePointer<UInt32>, _ list: UnsafeMutablePointer<UInt32>,
      _ ranks: UnsafeMutablePointer<UInt32>
    ) -> Rows {
      let used = unsafe layer.kernels.used_rows_u32(indices, listed, side.shape.poolRows, scratch.marks, list)
      unsafe ckv_rank_u32(list, used, scratch.places, indices, listed, ranks)
      return unsafe Rows(list: UnsafePointer(list), count: used, ranks: UnsafePointer(ranks))
    }
    unsafe keyRows =
      unsafe listsKeys
      ? list(keys, keyIndices, scratch.keyList, scratch.keyRanks) : Rows(list: keyIndices, count: listed, ranks: nil)
    if addsUp {
      unsafe valueRows =
        unsafe isShared && listsKeys ? keyRows : list(values, valueIndices, scratch.valueList, scratch.valueRanks)
    } else {
      unsafe valueRows = nil
    }
  }

  /// One pool index per position that some query sees, copied where they do not follow each other.
  private static func indices(
    _ side: SideColumns, _ block: QueryBlock, _ copy: UnsafeMutablePointer<UInt32>
  ) -> UnsafePointer<UInt32> {
    let start = unsafe side.indices + block.range.lowerBound
    guard case .own(let first) = unsafe block.view else { return unsafe start }
    let shared = unsafe block.range.count - 1
    unsafe copy.update(from: start, count: shared)
    unsafe (copy + shared).update(from: side.indices + first, count: block.count)
    return unsafe UnsafePointer(copy)
  }

  // MARK: Weights

  /// Weights of a head: per position, or for a head of a softmax without a user part per listed row, with each
  /// position's place among those. One head's sums of them are left in the scratch's totals.
  func weights(
    _ head: Int, hasOwn: Bool, _ layer: borrowing AttentionLayer
  ) -> (table: UnsafePointer<Float>, indices: UnsafePointer<UInt32>?) {
    let slice = HeadSlice(head, of: layer.shape.heads, layer.shape.key)
    let made = unsafe block.table.map { unsafe $0 + head * keys.shape.poolRows * QueryBlocks.size }
    if unsafe made == nil {
      unsafe keyKernels.block_dots(
        keys.poolColumn(slice.pool.lowerBound), keys.shape.poolWidth, keyRows.list, keyRows.count,
        block.numbers + slice.poolColumns.lowerBound, layer.shape.key.width, block.count, slice.pool.count,
        scratch.products)
    }
    guard unsafe hasOwn || !isUniform else {
      if let made = unsafe made {
        unsafe ckv_gather_blocks_f32(made, keyRows.list, keyRows.count, scratch.products)
      }
      unsafe kernels.scores(
        nil, nil, nil, 0, nil, 0, block.scale, keyRows.count, scratch.products, scratch.greatest)
      unsafe kernels.exp_sums(scratch.products, keyRows.count, scratch.greatest, scratch.totals)
      return unsafe (UnsafePointer(scratch.products), keyRows.ranks)
    }
    unsafe score(slice, made ?? UnsafePointer(scratch.products), made == nil ? keyRows.ranks : keyIndices, layer)
    switch unsafe function {
    case .softmax:
      unsafe kernels.exp_sums(scratch.weights, positions, scratch.greatest, scratch.totals)
    case .silu(_, nil):
      unsafe ckv_silu_blocks_f32(scratch.weights, nil, scratch.counts, positions)
    case .silu(_, let bias?):
      unsafe bias.withUnsafeBufferPointer { bias in
        unsafe ckv_silu_blocks_f32(scratch.weights, bias.baseAddress!, scratch.counts, positions)
      }
    }
    return unsafe (UnsafePointer(scratch.weights), nil)
  }

  /// Scores of every position into the scratch's weights, and the greatest that each query sees.
  private func score(
    _ slice: HeadSlice, _ table: UnsafePointer<Float>, _ places: UnsafePointer<UInt32>?,
    _ layer: borrowing AttentionLayer
  ) {
    unsafe findCoefficients(slice, layer)
    let size = QueryBlocks.size
    let columns = unsafe keys.user + slice.user.lowerBound * keys.count + block.range.lowerBound
    unsafe kernels.scores(
      table, places, columns, keys.count, scratch.coefficients, slice.user.count, block.scale, shared, scratch.weights,
      scratch.greatest)
    if let first = unsafe ownFirst {
      for query in unsafe 0..<block.count {
        let place = unsafe places.map { unsafe Int($0[shared + query]) } ?? shared + query
        var score = unsafe table[place * size + query]
        for dimension in 0..<slice.user.count {
          unsafe score.addProduct(
            scratch.coefficients[dimension * size + query],
            keys.user[(slice.user.lowerBound + dimension) * keys.count + first + query])
        }
        score = unsafe block.scale * score
        unsafe scratch.weights[shared * size + query] = score
        if unsafe score > scratch.greatest[query] { unsafe scratch.greatest[query] = score }
      }
      for query in unsafe block.count..<size { unsafe scratch.weights[shared * size + query] = 0 }
    } else if unsafe shared < positions {
      let rest = unsafe scratch.weights + shared * size
      unsafe kernels.scores(
        places == nil ? table + shared * size : table, places.map { unsafe $0 + shared }, columns + shared, keys.count,
        scratch.coefficients, slice.user.count, block.scale, positions - shared, rest, scratch.scales)
      guard case .softmax = unsafe function else { return }
      for position in unsafe shared..<positions {
        for query in 0..<size {
          let place = unsafe (position - shared) * size + query
          if unsafe position >= Int(scratch.counts[query]) {
            unsafe rest[place] = -.infinity
          } else if unsafe rest[place] > scratch.greatest[query] {
            unsafe scratch.greatest[query] = rest[place]
          }
        }
      }
    }
  }

  /// The queries' factors on the head's user columns, side by side.
  private func findCoefficients(_ slice: HeadSlice, _ layer: borrowing AttentionLayer) {
    for query in unsafe 0..<block.count {
      let numbers = unsafe block.numbers + query * layer.shape.key.width
      var own = unsafe numbers + slice.user.lowerBound
      if unsafe keys.shape.isAdditive {
        unsafe layer.kernels.f32.row_dots(
          keys.basis + slice.columns.lowerBound, keys.shape.poolWidth, nil, slice.user.count,
          numbers + slice.columns.lowerBound, slice.columns.count, scratch.own)
        unsafe own = UnsafePointer(scratch.own)
      }
      for place in 0..<slice.user.count {
        unsafe scratch.coefficients[place * QueryBlocks.size + query] = own[place]
      }
    }
  }
}
