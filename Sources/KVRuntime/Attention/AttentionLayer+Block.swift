/// Softmax of several queries over the same positions, side by side: a number of a pool row is read once for many of
/// them, and a position's weights move as one vector. Every query goes through the operations of
/// `AttentionLayer+Softmax.swift` in their order, so its output is the same bits as alone. Where a query leaves a pool
/// row without weight, which skips that row alone, it is done alone.

internal import CKernels
internal import CacheTypes

/// How many queries go side by side.
enum QueryBlocks {
  /// CKV_BLOCK.
  static let size = Int(CKV_BLOCK)
  /// Fewer queries are done one by one: a block takes as long as four to five.
  static let least = 5
}

/// Queries that see the same positions.
@unsafe
struct QueryBlock {
  /// `count x d_k` numbers.
  let numbers: UnsafePointer<Float>
  /// 1 to `QueryBlocks.size`.
  let count: Int
  let scale: Float
  /// Tables as `CandidateTables` has them for a block; `nil` if they have to be made.
  let table: UnsafePointer<Float>?
}

extension AttentionLayer {
  /// The attention outputs of a block over `range`, which is not empty, into `output`, `count x d_v` numbers.
  ///
  /// - Returns: the first query with a score beyond what 32-bit floats hold; `nil` if there is none.
  func softmax(
    _ block: QueryBlock, _ columns: AttendedColumns, _ range: Range<Int>, _ scratch: BlockScratch,
    into output: UnsafeMutablePointer<Float>
  ) -> Int? {
    let pass = unsafe BlockPass(self, block, columns, range, scratch, into: output)
    for first in stride(from: 0, to: shape.heads, by: HeadGroup.size) { unsafe pass.attend(first, self) }
    let (keyWidth, valueWidth) = (shape.key.width, value.width)
    for query in unsafe 0..<block.count {
      if unsafe pass.failed & 1 << UInt32(query) != 0 { return query }
      if unsafe pass.skipping & 1 << UInt32(query) != 0 {
        let isFinite = unsafe softmax(
          block.numbers + query * keyWidth, columns.keys, columns.values, range, scale: block.scale,
          into: output + query * valueWidth)
        guard isFinite else { return query }
      }
    }
    return nil
  }
}

/// One block over one range.
@unsafe
private final class BlockPass {
  private let block: QueryBlock
  private let keys: SideColumns
  private let values: SideColumns
  private let range: Range<Int>
  private let scratch: BlockScratch
  private let output: UnsafeMutablePointer<Float>
  private let kernels: ckv_block_kernels
  private let keyKernels: ckv_block_row_kernels
  private let valueKernels: ckv_block_row_kernels
  /// Pool rows whose dot products are taken, and each position's place among them; `nil`: its own number.
  private let keyRows: (list: UnsafePointer<UInt32>, count: Int, ranks: UnsafePointer<UInt32>?)
  /// The same of rows whose weights are added up first; `nil`: values are read position by position.
  private let valueRows: (list: UnsafePointer<UInt32>, count: Int, ranks: UnsafePointer<UInt32>)?
  /// A bit per query with a sum of weights that is not finite.
  private(set) var failed: UInt32 = 0
  /// A bit per query that leaves a row without weight.
  private(set) var skipping: UInt32 = 0

  init(
    _ layer: borrowing AttentionLayer, _ block: QueryBlock, _ columns: AttendedColumns, _ range: Range<Int>,
    _ scratch: BlockScratch, into output: UnsafeMutablePointer<Float>
  ) {
    let (keys, values) = unsafe (columns.keys, columns.values)
    unsafe (self.block, self.keys, self.values) = (block, keys, values)
    unsafe (self.range, self.scratch, self.output) = (range, scratch, output)
    let kernels = Kernels.activeBlocks
    unsafe self.kernels = kernels
    unsafe keyKernels = kernels.rows(of: keys.element)
    unsafe valueKernels = kernels.rows(of: values.element)
    let count = range.count
    let listsKeys = unsafe AttentionLayer.usesTable(count, keys.shape)
    let addsUp = unsafe AttentionLayer.usesSums(count, values.shape)
    unsafe scratch.layOut(
      BlockScratch.Need(
        positions: count, keyRows: listsKeys ? keys.shape.poolRows : 0, valueRows: addsUp ? values.shape.poolRows : 0,
        heads: min(layer.shape.heads, HeadGroup.size), dimensions: max(keys.shape.userWidth, values.shape.userWidth)))
    func list(
      _ side: SideColumns, _ list: UnsafeMutablePointer<UInt32>, _ ranks: UnsafeMutablePointer<UInt32>
    ) -> Int {
      let indices = unsafe side.indices + range.lowerBound
      let used = unsafe layer.kernels.used_rows_u32(indices, count, side.shape.poolRows, scratch.marks, list)
      unsafe ckv_rank_u32(list, used, scratch.places, indices, count, ranks)
      return used
    }
    if listsKeys {
      let used = unsafe list(keys, scratch.keyList, scratch.keyRanks)
      unsafe keyRows = (UnsafePointer(scratch.keyList), used, UnsafePointer(scratch.keyRanks))
    } else {
      unsafe keyRows = (keys.indices + range.lowerBound, count, nil)
    }
    if addsUp, unsafe keys.indices == values.indices, let ranks = unsafe keyRows.ranks {
      unsafe valueRows = (keyRows.list, keyRows.count, ranks)
    } else if addsUp {
      let used = unsafe list(values, scratch.valueList, scratch.valueRanks)
      unsafe valueRows = (UnsafePointer(scratch.valueList), used, UnsafePointer(scratch.valueRanks))
    } else {
      unsafe valueRows = nil
    }
  }

  // MARK: Steps

  /// The heads of one group.
  func attend(_ first: Int, _ layer: borrowing AttentionLayer) {
    let group = HeadGroup(first, of: layer.shape, layer.value)
    let sumStride = unsafe (valueRows?.count ?? 0) * QueryBlocks.size
    for head in group.heads {
      let place = head - first
      let weights = unsafe weights(head, hasOwn: layer.shape.heads == 1 || place < group.ownCount, layer)
      let own = unsafe scratch.ownSums + place * values.shape.userWidth * QueryBlocks.size
      let slice = HeadSlice(head, of: layer.shape.heads, layer.value)
      if !slice.user.isEmpty {
        unsafe kernels.column_sums(
          weights.table, values.user + slice.user.lowerBound * values.count + range.lowerBound, values.count,
          slice.user.count, range.count, own)
      }
      if let rows = unsafe valueRows {
        let sums = unsafe scratch.sums + place * sumStride
        unsafe sums.update(repeating: 0, count: sumStride)
        unsafe kernels.scatter(sums, rows.ranks, weights.table, weights.indices, range.count)
        if layer.shape.heads == 1 {
          unsafe skipping |= kernels.empty_rows(sums, 1, 0, rows.count)
          unsafe weigh(slice, rows.list, sums, rows.count, own, layer)
        }
      } else {
        var table = unsafe weights.table
        if let indices = unsafe weights.indices {
          unsafe ckv_gather_blocks_f32(table, indices, range.count, scratch.weights)
          unsafe table = UnsafePointer(scratch.weights)
        }
        if layer.shape.heads > 1 { unsafe kernels.totals(table, range.count, scratch.totals) }
        unsafe weigh(slice, values.indices + range.lowerBound, table, range.count, own, layer)
      }
    }
    guard let rows = unsafe valueRows, layer.shape.heads > 1 else { return }
    unsafe skipping |= kernels.empty_rows(scratch.sums, group.heads.count, sumStride, rows.count)
    for head in group.heads {
      let sums = unsafe scratch.sums + (head - first) * sumStride
      unsafe kernels.totals(sums, rows.count, scratch.totals)
      unsafe weigh(
        HeadSlice(head, of: layer.shape.heads, layer.value), rows.list, sums, rows.count,
        scratch.ownSums + (head - first) * values.shape.userWidth * QueryBlocks.size, layer)
    }
  }

  /// Exponentials of a head's scores, each less its query's greatest: per position, or for a head without a user part
  /// per listed row, with each position's place among those. One head's sums of them are left in the scratch's totals.
  private func weights(
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
    guard hasOwn else {
      if let made = unsafe made {
        unsafe ckv_gather_blocks_f32(made, keyRows.list, keyRows.count, scratch.products)
      }
      unsafe kernels.scores(
        nil, nil, nil, 0, nil, 0, block.scale, keyRows.count, scratch.products, scratch.greatest)
      unsafe kernels.exp_sums(scratch.products, keyRows.count, scratch.greatest, scratch.totals)
      return unsafe (UnsafePointer(scratch.products), keyRows.ranks)
    }
    unsafe findCoefficients(slice, layer)
    unsafe kernels.scores(
      made ?? UnsafePointer(scratch.products), made == nil ? keyRows.ranks : keys.indices + range.lowerBound,
      keys.user + slice.user.lowerBound * keys.count + range.lowerBound, keys.count, scratch.coefficients,
      slice.user.count, block.scale, range.count, scratch.weights, scratch.greatest)
    unsafe kernels.exp_sums(scratch.weights, range.count, scratch.greatest, scratch.totals)
    return unsafe (UnsafePointer(scratch.weights), nil)
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

  /// The head's part of the outputs, by the scratch's totals.
  private func weigh(
    _ slice: HeadSlice, _ rows: UnsafePointer<UInt32>, _ weights: UnsafePointer<Float>, _ count: Int,
    _ own: UnsafePointer<Float>, _ layer: borrowing AttentionLayer
  ) {
    let width = layer.value.width
    for query in unsafe 0..<block.count {
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
}
