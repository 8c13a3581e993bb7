/// One call of attention over one user's entries: which positions every query sees, by position, window and mask, and
/// where its output goes. What is computed from them is a formula's affair. It builds no full key and no full value,
/// relies on entries that were validated against the shape, and keeps nothing between calls.

package import CacheTypes

extension AttentionFunction {
  /// Attention output of every query.
  ///
  /// A query sees the positions `[lo, hi)`: `hi` is its position, or `count` without one; `lo = max(0, hi - window)`.
  /// An empty range gives zeros. A query's output is the same bits whatever other queries come with it.
  ///
  /// - Precondition: `entries` has `count` positions and fits `shape`; `tensors` fit it too; a search layer's likewise.
  /// - Parameters:
  ///   - candidates: tables of these very queries; the output is the same bits with them and without.
  ///   - forced: ways that are taken whatever they cost.
  /// - Returns: `queries.count x d_v`, row-major.
  /// - Throws: `StoreError.invalidInput` naming the row: see `AttentionQueries.check` and `check`; a key-only layer;
  ///   numbers beyond what 32-bit floats hold.
  /// - Complexity: O(n (d_u + heads) + min(n, m) d_g) per query; b hash bits take O(n b (d_u + 1)) once per call, and
  ///   O(min(n, m) b d_g) more without a table of theirs; memory grows with n once per call.
  package func attend(
    _ queries: AttentionQueries, _ entries: LayerEntries, count: Int, shape: LayerShape, tensors: LayerTensors,
    candidates: CandidateTables? = nil, forcing forced: ForcedPaths? = nil
  ) throws(StoreError) -> [Float] {
    requireFit(entries, shape, count: count)
    try queries.check(width: shape.key.width, length: count)
    precondition(candidates == nil || candidates!.fits(queries, shape), "tables belong to their queries")
    let ranges = (0..<queries.count).map { queries.range(length: queries.positions?[$0] ?? count) }
    let call = try AttentionCall(self, queries, ranges, shape, tensors, candidates, forced)
    return try call.attend(AttendedEntries(entries, searched, count: count))
  }

  /// Attention output of a stage's new positions: one query for each position from `storedCount` on.
  ///
  /// Causal queries see what they would see had the positions up to their own been stored; a query of
  /// `.historyAndSelf` sees what it would see had its own position alone been stored. The outputs are the same bits
  /// as then.
  ///
  /// - Precondition: `entries` has `count` positions, the stored ones first, and fits `shape`.
  /// - Returns: `(count - storedCount) x d_v`, row-major.
  /// - Throws: as without a mask; also if there is not one query per new position, or queries bring positions.
  package func attend(
    _ queries: AttentionQueries, mask: StageMask, storedCount: Int, _ entries: LayerEntries, count: Int,
    shape: LayerShape, tensors: LayerTensors, forcing forced: ForcedPaths? = nil
  ) throws(StoreError) -> [Float] {
    requireFit(entries, shape, count: count)
    precondition(storedCount >= 0 && storedCount <= count, "stored positions come first")
    guard queries.count == count - storedCount else {
      throw .invalidInput("\(queries.count) queries for \(count - storedCount) new positions")
    }
    guard queries.positions == nil else {
      throw .invalidInput("a stage's queries bring no positions: the mask says them")
    }
    try queries.check(width: shape.key.width, length: count)
    let ranges = (0..<queries.count).map {
      queries.range(length: storedCount + (mask == .causal ? $0 + 1 : 1))
    }
    let call = try AttentionCall(self, queries, ranges, shape, tensors, nil, forced)
    let all = AttendedEntries(entries, searched, count: count)
    switch mask {
    case .causal: return try call.attend(all)
    case .historyAndSelf: return try call.attendApart(all, storedCount: storedCount)
    }
  }

  private func requireFit(_ entries: LayerEntries, _ shape: LayerShape, count: Int) {
    entries.requireFit(shape, count: count)
    if let searched { searched.entries.requireFit(searched.keyOnlyShape, count: count) }
  }

  private var searched: Search? {
    if case .select(_, let search) = self { return search }
    return nil
  }
}

/// The columns of one user: those of the layer, and those of the keys that are searched.
private struct AttendedEntries: ~Copyable {
  var layer: LayerEntries
  var search: LayerEntries?
  var searchShape: LayerShape?
  let count: Int

  init(_ layer: LayerEntries, _ search: Search?, count: Int) {
    self.layer = layer
    self.search = search?.entries
    searchShape = search?.keyOnlyShape
    self.count = count
  }

  private init(_ layer: LayerEntries, _ search: LayerEntries?, _ searchShape: LayerShape?, count: Int) {
    self.layer = layer
    self.search = search
    self.searchShape = searchShape
    self.count = count
  }

  /// The first `length` positions.
  func prefix(_ length: Int, _ shape: LayerShape) -> AttendedEntries {
    AttendedEntries(
      layer.prefix(length, of: count, shape),
      searchShape.flatMap { search?.prefix(length, of: count, $0) }, searchShape, count: length)
  }

  /// Overwrites a position by one of `source`.
  mutating func replace(
    _ position: Int, by source: borrowing AttendedEntries, _ sourcePosition: Int, _ shape: LayerShape
  ) {
    layer.replace(position, of: count, by: source.layer, sourcePosition, of: source.count, shape)
    if let searchShape, let other = source.search {
      search?.replace(position, of: count, by: other, sourcePosition, of: source.count, searchShape)
    }
  }
}

/// Queries, the range of each, and the formula that is applied to them.
private struct AttentionCall: ~Copyable {
  private let queries: AttentionQueries
  private let ranges: [Range<Int>]
  private let layer: AttentionLayer
  private let formula: any AttentionFormula
  /// Every position that some query sees, and perhaps more.
  private let positions: Range<Int>
  private let candidates: CandidateTables?

  init(
    _ function: AttentionFunction, _ queries: AttentionQueries, _ ranges: [Range<Int>], _ shape: LayerShape,
    _ tensors: LayerTensors, _ candidates: CandidateTables?, _ forced: ForcedPaths?
  ) throws(StoreError) {
    var (positions, longestRange) = (0..<0, 0)
    for range in ranges where !range.isEmpty {
      positions =
        longestRange == 0
        ? range : min(positions.lowerBound, range.lowerBound)..<max(positions.upperBound, range.upperBound)
      longestRange = max(longestRange, range.count)
    }
    try function.check(shape, queries: queries.count, longestRange: longestRange)
    let layer = try AttentionLayer(shape, tensors, longestRange: longestRange, forced)
    formula = try function.formula(shape, tensors, positions: positions, longestRange: longestRange)
    self.layer = layer
    self.queries = queries
    self.ranges = ranges
    self.positions = positions
    self.candidates = candidates
  }

  /// Every query over its range of `entries`.
  borrowing func attend(_ entries: borrowing AttendedEntries) throws(StoreError) -> [Float] {
    var output = [Float](repeating: 0, count: queries.count * layer.shape.value!.width)
    guard !positions.isEmpty else { return output }
    try unsafe withColumns(entries) { (columns) throws(StoreError) in
      unsafe formula.prepare(columns, positions)
      var scratch: BlockScratch?
      defer { scratch?.giveBack() }
      var row = 0
      while row < queries.count {
        let block = block(from: row)
        if block.isEmpty {
          if !ranges[row].isEmpty { try unsafe attend(row, columns, into: &output) }
          row += 1
        } else {
          let own = scratch ?? BlockScratch.take()
          scratch = own
          let longest = ranges[block].max { $0.count < $1.count }!
          let result = unsafe attend(
            block, longest, .first(counts: ranges[block].map(\.count)), columns, own, into: &output)
          for row in result.alone { try unsafe attend(row, columns, into: &output) }
          if let failed = result.failed { throw scoreBeyondFloats(row: failed) }
          row = block.upperBound
        }
      }
    }
    return output
  }

  /// The queries from `row` on that are done side by side; none if one by one is cheaper.
  private borrowing func block(from row: Int) -> Range<Int> {
    let first = ranges[row]
    guard let weights = formula.blockWeights, !first.isEmpty else { return row..<row }
    let sums = layer.paths.sums(first.count, byHead: weights.isByHead)
    var (end, longest) = (row + 1, first.count)
    while end < queries.count, end - row < QueryBlocks.size {
      let next = ranges[end]
      guard next != first else {
        end += 1
        continue
      }
      // A query that sees a little more or less takes part, if its values are added up in the same way.
      guard
        next.lowerBound == first.lowerBound, !next.isEmpty, abs(next.count - first.count) <= first.count / 8,
        layer.paths.sums(next.count, byHead: weights.isByHead) == sums
      else { break }
      longest = max(longest, next.count)
      end += 1
    }
    let isSideBySide =
      candidates?.isInBlock(row) ?? layer.paths.isSideBySide(end - row, longest, byHead: weights.isByHead)
    return row..<(isSideBySide ? end : row)
  }

  /// - Returns: the first query with a score beyond what 32-bit floats hold, and those before it that have to be done
  ///   alone.
  private borrowing func attend(
    _ block: Range<Int>, _ range: Range<Int>, _ view: QueryBlock.View, _ columns: AttendedColumns,
    _ scratch: BlockScratch, into output: inout [Float]
  ) -> (alone: [Int], failed: Int?) {
    let (keyWidth, valueWidth) = (layer.shape.key.width, layer.shape.value!.width)
    let scale = queries.scale(for: layer.shape)
    unsafe layer.scratch.candidate = nil
    let outcome = unsafe queries.values.withUnsafeBufferPointer { numbers in
      unsafe output.withUnsafeMutableBufferPointer { output in
        unsafe layer.attend(
          QueryBlock(
            numbers: numbers.baseAddress! + block.lowerBound * keyWidth, count: block.count, scale: scale, range: range,
            view: view, table: candidates?.block(block.lowerBound / QueryBlocks.size)),
          formula.blockWeights!, columns, scratch, into: output.baseAddress! + block.lowerBound * valueWidth)
      }
    }
    var alone: [Int] = []
    for row in block {
      let bit: UInt32 = 1 << UInt32(row - block.lowerBound)
      if outcome.alone & bit != 0 {
        for place in row * valueWidth..<(row + 1) * valueWidth { output[place] = 0 }
        alone.append(row)
      } else if outcome.failed & bit != 0 {
        return (alone, row)
      }
    }
    return (alone, nil)
  }

  /// Every query over the stored positions and a new one of its own.
  borrowing func attendApart(_ entries: borrowing AttendedEntries, storedCount: Int) throws(StoreError) -> [Float] {
    var output = [Float](repeating: 0, count: queries.count * layer.shape.value!.width)
    guard queries.count > 0 else { return output }
    let range = ranges[0]
    guard
      let weights = formula.blockWeights,
      layer.paths.isSideBySide(min(queries.count, QueryBlocks.size), range.count, byHead: weights.isByHead)
    else {
      try attendInTurn(Array(0..<queries.count), entries, storedCount: storedCount, into: &output)
      return output
    }
    var (alone, failed) = ([Int](), Int?.none)
    try unsafe withColumns(entries) { (columns) throws(StoreError) in
      let scratch = BlockScratch.take()
      defer { scratch.giveBack() }
      for first in stride(from: 0, to: queries.count, by: QueryBlocks.size) {
        let block = first..<min(first + QueryBlocks.size, queries.count)
        let result = unsafe attend(
          block, range, .own(first: storedCount + first), columns, scratch, into: &output)
        alone += result.alone
        failed = result.failed
        if failed != nil { break }
      }
    }
    try attendInTurn(alone, entries, storedCount: storedCount, into: &output)
    if let failed { throw scoreBeyondFloats(row: failed) }
    return output
  }

  /// Queries one by one: each one's new position becomes the last of a copy of the history.
  private borrowing func attendInTurn(
    _ rows: [Int], _ entries: borrowing AttendedEntries, storedCount: Int, into output: inout [Float]
  ) throws(StoreError) {
    guard !rows.isEmpty else { return }
    var seen = entries.prefix(storedCount + 1, layer.shape)
    for row in rows {
      if row > 0 { seen.replace(storedCount, by: entries, storedCount + row, layer.shape) }
      try unsafe withColumns(seen) { (columns) throws(StoreError) in
        unsafe formula.prepare(columns, row == rows[0] ? positions : storedCount..<storedCount + 1)
        try unsafe attend(row, columns, into: &output)
      }
    }
  }

  private borrowing func attend(
    _ row: Int, _ columns: AttendedColumns, into output: inout [Float]
  ) throws(StoreError) {
    let (keyWidth, valueWidth) = (layer.shape.key.width, layer.shape.value!.width)
    let scale = queries.scale(for: layer.shape)
    try unsafe queries.values.withUnsafeBufferPointer { (numbers) throws(StoreError) in
      let query = unsafe AttendingQuery(row: row, numbers: numbers.baseAddress! + row * keyWidth, scale: scale)
      try unsafe output.withUnsafeMutableBufferPointer { (output) throws(StoreError) in
        unsafe layer.scratch.candidate = candidates?.single(row)
        try unsafe formula.attend(query, columns, ranges[row], layer, into: output.baseAddress! + row * valueWidth)
      }
    }
  }

  private borrowing func withColumns(
    _ entries: borrowing AttendedEntries, _ body: (AttendedColumns) throws(StoreError) -> Void
  ) throws(StoreError) {
    try unsafe layer.withColumns(entries.layer, count: entries.count) { (keys, values) throws(StoreError) in
      guard let search = entries.search, let formula = formula as? SelectFormula else {
        return try unsafe body(AttendedColumns(keys: keys, values: values, search: nil))
      }
      try unsafe formula.layer.withColumns(search, count: entries.count) { (search, _) throws(StoreError) in
        try unsafe body(AttendedColumns(keys: keys, values: values, search: search))
      }
    }
  }
}

extension LayerEntries {
  /// The first `length` of `count` positions.
  fileprivate func prefix(_ length: Int, of count: Int, _ shape: LayerShape) -> LayerEntries {
    var result = LayerEntries(zeroed: shape, count: length)
    result.keyIndices = Array(keyIndices.prefix(length))
    result.valueIndices = Array(valueIndices.prefix(length))
    for dimension in 0..<shape.key.userWidth {
      result.keyUser.replaceSubrange(
        dimension * length..<(dimension + 1) * length, with: keyUser[dimension * count..<dimension * count + length])
    }
    for dimension in 0..<(shape.value?.userWidth ?? 0) {
      result.valueUser.replaceSubrange(
        dimension * length..<(dimension + 1) * length, with: valueUser[dimension * count..<dimension * count + length])
    }
    return result
  }

  /// Overwrites one of `count` positions with one of `source`, which has `sourceCount`.
  fileprivate mutating func replace(
    _ position: Int, of count: Int, by source: LayerEntries, _ sourcePosition: Int, of sourceCount: Int,
    _ shape: LayerShape
  ) {
    keyIndices[position] = source.keyIndices[sourcePosition]
    if shape.storesValueIndices { valueIndices[position] = source.valueIndices[sourcePosition] }
    for dimension in 0..<shape.key.userWidth {
      keyUser[dimension * count + position] = source.keyUser[dimension * sourceCount + sourcePosition]
    }
    for dimension in 0..<(shape.value?.userWidth ?? 0) {
      valueUser[dimension * count + position] = source.valueUser[dimension * sourceCount + sourcePosition]
    }
  }
}
