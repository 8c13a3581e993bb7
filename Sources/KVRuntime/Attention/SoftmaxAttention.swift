/// Multi-head softmax attention over one user's entries. It builds no full key and no full value: per query and head it
/// scores the positions, takes exponentials less the greatest score, and adds up the values, each step by a kernel. It
/// relies on entries that were validated against the shape, and keeps nothing between calls.

package import CacheTypes

package enum SoftmaxAttention {
  /// Attention output of every query.
  ///
  /// A query sees the positions `[lo, hi)`: `hi` is its position, or `count` without one; `lo = max(0, hi - window)`.
  /// An empty range gives zeros. A query's output is the same bits whatever other queries come with it.
  ///
  /// - Precondition: `entries` has `count` positions and fits `shape`; `tensors` fit it too.
  /// - Returns: `queries.count x d_v`, row-major.
  /// - Throws: `StoreError.invalidInput` naming the row: see `AttentionQueries.check`; a key-only layer; scores beyond
  ///   what 32-bit floats hold.
  /// - Complexity: O(n (d_u + heads) + min(n, m) d_g) per query; memory grows with n once per call.
  package static func attend(
    _ queries: AttentionQueries, _ entries: LayerEntries, count: Int, shape: LayerShape, tensors: LayerTensors
  ) throws(StoreError) -> [Float] {
    entries.requireFit(shape, count: count)
    try queries.check(width: shape.key.width, length: count)
    let ranges = (0..<queries.count).map { queries.range(length: queries.positions?[$0] ?? count) }
    let layer = try AttentionLayer(shape, tensors, longestRange: ranges.map(\.count).max() ?? 0)
    return try attend(queries, ranges, entries, count: count, layer)
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
  package static func attend(
    _ queries: AttentionQueries, mask: StageMask, storedCount: Int, _ entries: LayerEntries, count: Int,
    shape: LayerShape, tensors: LayerTensors
  ) throws(StoreError) -> [Float] {
    entries.requireFit(shape, count: count)
    precondition(storedCount >= 0 && storedCount <= count, "stored positions come first")
    guard queries.count == count - storedCount else {
      throw .invalidInput("\(queries.count) queries for \(count - storedCount) new positions")
    }
    guard queries.positions == nil else {
      throw .invalidInput("a stage's queries bring no positions: the mask says them")
    }
    try queries.check(width: shape.key.width, length: count)
    switch mask {
    case .causal:
      let ranges = (0..<queries.count).map { queries.range(length: storedCount + $0 + 1) }
      let layer = try AttentionLayer(shape, tensors, longestRange: ranges.last?.count ?? 0)
      return try attend(queries, ranges, entries, count: count, layer)
    case .historyAndSelf:
      return try attendHistoryAndSelf(queries, storedCount, entries, count: count, shape, tensors)
    }
  }

  private static func attend(
    _ queries: AttentionQueries, _ ranges: [Range<Int>], _ entries: LayerEntries, count: Int,
    _ layer: borrowing AttentionLayer
  ) throws(StoreError) -> [Float] {
    let width = layer.shape.value!.width
    var output = [Float](repeating: 0, count: queries.count * width)
    try unsafe output.withUnsafeMutableBufferPointer { (output) throws(StoreError) in
      try unsafe layer.withColumns(entries, count: count) { (keys, values) throws(StoreError) in
        for row in 0..<queries.count where !ranges[row].isEmpty {
          try unsafe attend(queries, row, keys, values, ranges[row], layer, into: output.baseAddress! + row * width)
        }
      }
    }
    return output
  }

  /// Every candidate in turn becomes the last position of a copy of the history.
  private static func attendHistoryAndSelf(
    _ queries: AttentionQueries, _ storedCount: Int, _ entries: LayerEntries, count: Int, _ shape: LayerShape,
    _ tensors: LayerTensors
  ) throws(StoreError) -> [Float] {
    let range = queries.range(length: storedCount + 1)
    let layer = try AttentionLayer(shape, tensors, longestRange: range.count)
    guard queries.count > 0 else { return [] }
    let width = shape.value!.width
    var seen = entries.prefix(storedCount + 1, of: count, shape)
    var output = [Float](repeating: 0, count: queries.count * width)
    for row in 0..<queries.count {
      if row > 0 { seen.replace(storedCount, of: storedCount + 1, by: entries, storedCount + row, of: count, shape) }
      try unsafe output.withUnsafeMutableBufferPointer { (output) throws(StoreError) in
        try unsafe layer.withColumns(seen, count: storedCount + 1) { (keys, values) throws(StoreError) in
          try unsafe attend(queries, row, keys, values, range, layer, into: output.baseAddress! + row * width)
        }
      }
    }
    return output
  }

  /// One query's output. The range is not empty.
  private static func attend(
    _ queries: AttentionQueries, _ row: Int, _ keys: SideColumns, _ values: SideColumns, _ range: Range<Int>,
    _ layer: borrowing AttentionLayer, into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    let scale = queries.scale(for: layer.shape)
    try unsafe queries.values.withUnsafeBufferPointer { (numbers) throws(StoreError) in
      let query = unsafe numbers.baseAddress! + row * layer.shape.key.width
      guard unsafe layer.softmax(query, keys, values, range, scale: scale, into: output) else {
        throw .invalidInput("query at row \(row): a score is beyond what 32-bit floats hold")
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
