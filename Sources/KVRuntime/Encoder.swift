/// The encoder: embeddings in, entries out. It projects user parts and routes positions to pool rows, in 32-bit floats.
///
/// A row's entries are the same bits whatever batch the row comes in and whatever CPU computes them: every output
/// adds up its products in the order of the embedding's dimensions, fused, from zero, and adds the bias last. So a
/// history encoded at once, in pieces or one by one is one history. It relies on tensors that fit the shape (the
/// pool reader checks them) and stores nothing.

package import CacheTypes

/// Projections and routers of every layer, packed for the kernels. Immutable; callable from any thread.
package struct Encoder: Sendable {
  private let shape: ModelShape
  private let layers: [PackedLayer]
  private let itemEmbedding: Tensor?

  /// What one layer computes from an embedding.
  private struct PackedLayer: Sendable {
    /// u_k, then u_v: both projections in one product; `nil` if neither has a user part.
    var projection: PackedWeights?
    var keyRouter: PackedWeights?
    var valueRouter: PackedWeights?

    var needsEmbeddings: Bool { projection != nil || keyRouter != nil || valueRouter != nil }
  }

  /// Packs every layer's weights.
  ///
  /// - Precondition: `layers` has what `shape` says, as the model reader has checked.
  /// - Complexity: one pass over the weights; about their size in f32 is kept.
  package init(shape: ModelShape, layers: [LayerTensors], itemEmbedding: Tensor?) {
    precondition(shape.layers.count == layers.count)
    self.shape = shape
    self.itemEmbedding = itemEmbedding
    self.layers = zip(shape.layers, layers).map { shape_, tensors in
      let parts = [tensors.key] + (tensors.value.map { [$0] } ?? [])
      let projections = parts.compactMap { part in
        part.projectionWeight.map { (weight: $0, bias: Self.bias(part.projectionBias, of: $0)) }
      }
      let packed = PackedLayer(
        projection: projections.isEmpty ? nil : PackedWeights(projections, width: shape.embeddingWidth, padding: 0),
        keyRouter: Self.router(tensors.key, width: shape.embeddingWidth),
        valueRouter: tensors.value.flatMap { Self.router($0, width: shape.embeddingWidth) })
      precondition((packed.projection?.outputs ?? 0) == shape_.key.userWidth + (shape_.value?.userWidth ?? 0))
      precondition((packed.keyRouter?.outputs ?? shape_.key.poolRows) == shape_.key.poolRows)
      precondition((packed.keyRouter != nil) == shape_.key.hasRouter)
      precondition((packed.valueRouter != nil) == shape_.storesValueIndices)
      return packed
    }
  }

  private static func router(_ part: PartTensors, width: Int) -> PackedWeights? {
    part.routerWeight.map { weight in
      PackedWeights([(weight, bias(part.routerBias, of: weight))], width: width, padding: -.infinity)
    }
  }

  /// A layer's bias; zeros where it has none.
  private static func bias(_ bias: Tensor?, of weight: Tensor) -> Tensor {
    bias ?? Tensor([Float](repeating: 0, count: weight.matrixRows), shape: [weight.matrixRows])
  }
}

// MARK: - One layer

extension Encoder {
  /// Entries of one layer.
  ///
  /// - Parameters:
  ///   - embeddings: row r starts at `r * rowStride + offset` and is d_e wide.
  ///   - items: one id per row; needed by an interned layer only.
  /// - Throws: `StoreError.invalidInput` naming the row: too few embeddings, one that is not finite, items missing or
  ///   out of range.
  /// - Complexity: O(count d_e (m_k + m_v + d_u + d_u')).
  package func encode(
    layer: Int, embeddings: UnsafeBufferPointer<Float>, rowStride: Int, offset: Int, count: Int, items: [Int64]?
  ) throws(StoreError) -> LayerEntries {
    guard layers.indices.contains(layer) else {
      throw .invalidInput("layer \(layer), the model has \(layers.count)")
    }
    guard count >= 0, rowStride >= 0, offset >= 0 else {
      throw .invalidInput("\(count) rows from \(offset) on, \(rowStride) apart")
    }
    let rows: EmbeddingRows?
    if layers[layer].needsEmbeddings {
      try checkSpan(embeddings.count, rowStride: rowStride, offset: offset, count: count)
      unsafe rows = embeddings.baseAddress.map {
        unsafe EmbeddingRows(start: $0 + offset, stride: rowStride, count: count, width: shape.embeddingWidth)
      }
      if let rows = unsafe rows { try unsafe checkFinite(rows, layer: layer, firstRow: 0) }
    } else {
      unsafe rows = nil
    }
    let items = try checkedItems(items, count: count, layers: [layer])
    var entries = LayerEntries(zeroed: shape.layers[layer], count: count)
    unsafe encode(layer, rows, into: &entries, at: 0)
    intern(layer, items, into: &entries)
    return entries
  }

  private func checkSpan(_ available: Int, rowStride: Int, offset: Int, count: Int) throws(StoreError) {
    guard count > 0 else { return }
    let (span, overflow) = rowStride.multipliedReportingOverflow(by: count - 1)
    let (end, overflow2) = span.addingReportingOverflow(offset)
    let (needed, overflow3) = end.addingReportingOverflow(shape.embeddingWidth)
    guard !overflow, !overflow2, !overflow3, needed <= available else {
      throw .invalidInput(
        "\(available) embedding numbers for \(count) rows of \(shape.embeddingWidth), \(rowStride) apart"
      )
    }
  }

  private func checkFinite(_ rows: EmbeddingRows, layer: Int?, firstRow: Int) throws(StoreError) {
    let kernels = Kernels.active
    for row in unsafe 0..<rows.count {
      let start = unsafe rows.start + row * rows.stride
      let place = unsafe kernels.first_nonfinite_f32(start, rows.width)
      if unsafe place < rows.width {
        let of = layer.map { " of layer \($0)" } ?? ""
        throw .invalidInput("embedding\(of) at row \(firstRow + row) holds \(unsafe start[place]) at \(place)")
      }
    }
  }

  /// The items that `layers` need, every one a row of their pools; `nil` if they need none.
  private func checkedItems(_ items: [Int64]?, count: Int, layers: [Int]) throws(StoreError) -> [Int64]? {
    if let items, items.count != count { throw .invalidInput("\(items.count) items for \(count) rows") }
    for layer in layers where shape.layers[layer].isInterned {
      guard let items else { throw .invalidInput("layer \(layer) is interned: every row needs an item") }
      try Self.checkRange(items, below: shape.layers[layer].key.poolRows, of: "the pool of layer \(layer)")
    }
    return items
  }

  private static func checkRange(_ items: [Int64], below limit: Int, of name: String) throws(StoreError) {
    for (row, item) in items.enumerated() where item < 0 || item >= limit {
      throw .invalidInput("item \(item) at row \(row): \(name) has \(limit) rows")
    }
  }

  /// Fills in the columns of `rows` from position `first` on; interned indices are left alone.
  private func encode(_ layer: Int, _ rows: EmbeddingRows?, into entries: inout LayerEntries, at first: Int) {
    guard let rows = unsafe rows, unsafe rows.count > 0 else { return }
    let packed = layers[layer]
    let count = entries.keyIndices.count
    unsafe precondition(first >= 0 && first + rows.count <= count)
    if let router = packed.keyRouter {
      unsafe entries.keyIndices.withUnsafeMutableBufferPointer {
        unsafe router.route(rows, into: $0.baseAddress! + first)
      }
    }
    if let router = packed.valueRouter {
      unsafe entries.valueIndices.withUnsafeMutableBufferPointer {
        unsafe router.route(rows, into: $0.baseAddress! + first)
      }
    }
    guard let projection = packed.projection else { return }
    let keyWidth = shape.layers[layer].key.userWidth
    let valueWidth = projection.outputs - keyWidth
    if valueWidth == 0 {
      unsafe entries.keyUser.withUnsafeMutableBufferPointer {
        unsafe projection.project(rows, into: $0.baseAddress! + first, columnStride: count)
      }
    } else if keyWidth == 0 {
      unsafe entries.valueUser.withUnsafeMutableBufferPointer {
        unsafe projection.project(rows, into: $0.baseAddress! + first, columnStride: count)
      }
    } else {
      unsafe projectBoth(rows, projection, keyWidth, into: &entries, at: first)
    }
  }

  /// Both projections in one product, by way of a buffer that is then split in two.
  private func projectBoth(
    _ rows: EmbeddingRows, _ projection: PackedWeights, _ keyWidth: Int, into entries: inout LayerEntries, at first: Int
  ) {
    let rowCount = unsafe rows.count
    let count = entries.keyIndices.count
    unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: projection.outputs * rowCount) { columns in
      unsafe projection.project(rows, into: columns.baseAddress!, columnStride: rowCount)
      for output in 0..<projection.outputs {
        let source = unsafe UnsafeBufferPointer(rebasing: columns[output * rowCount..<(output + 1) * rowCount])
        if output < keyWidth {
          let start = output * count + first
          unsafe entries.keyUser.withUnsafeMutableBufferPointer {
            _ = unsafe UnsafeMutableBufferPointer(rebasing: $0[start..<start + rowCount]).update(fromContentsOf: source)
          }
        } else {
          let start = (output - keyWidth) * count + first
          unsafe entries.valueUser.withUnsafeMutableBufferPointer {
            _ = unsafe UnsafeMutableBufferPointer(rebasing: $0[start..<start + rowCount]).update(fromContentsOf: source)
          }
        }
      }
    }
  }

  /// An interned layer's indices are the items, which were checked.
  private func intern(_ layer: Int, _ items: [Int64]?, into entries: inout LayerEntries) {
    guard shape.layers[layer].isInterned, let items else { return }
    for (row, item) in items.enumerated() { entries.keyIndices[row] = UInt32(item) }
  }
}

// MARK: - All layers

extension Encoder {
  /// Entries of every layer.
  ///
  /// - Parameters:
  ///   - embeddings: `count x layers x d_e` if `isPerLayer`, else `count x d_e`, fed to every layer.
  ///   - items: one id per row, kept as given; needed if some layer is interned.
  /// - Throws: `StoreError.invalidInput` naming the row, as for one layer.
  package func encode(
    embeddings: [Float], count: Int, isPerLayer: Bool, items: [Int64]?
  ) throws(StoreError) -> Entries {
    let rowWidth = shape.embeddingWidth * (isPerLayer ? layers.count : 1)
    let (wanted, overflow) = rowWidth.multipliedReportingOverflow(by: count)
    guard count >= 0, !overflow, embeddings.count == wanted else {
      throw .invalidInput(
        "\(embeddings.count) embedding numbers for \(count) rows of \(rowWidth)")
    }
    let items = try checkedItems(items, count: count, layers: Array(layers.indices))
    var result: [LayerEntries] = []
    for layer in layers.indices {
      let offset = isPerLayer ? layer * shape.embeddingWidth : 0
      let entries = try unsafe embeddings.withUnsafeBufferPointer { (numbers) throws(StoreError) in
        try unsafe encode(
          layer: layer, embeddings: numbers, rowStride: rowWidth, offset: offset, count: count, items: items)
      }
      result.append(entries)
    }
    return Entries(count: count, layers: result, items: items)
  }

  /// Entries of items whose embeddings the model brings; one embedding feeds every layer.
  ///
  /// - Throws: `StoreError.invalidInput` naming the row: an item out of range, or a model without item embeddings.
  package func encode(items: [Int64]) throws(StoreError) -> Entries {
    _ = try checkedItems(items, count: items.count, layers: Array(layers.indices))
    var result = shape.layers.map { LayerEntries(zeroed: $0, count: items.count) }
    if layers.contains(where: \.needsEmbeddings) {
      try encodeGathered(items, into: &result)
    } else if let itemEmbedding {
      try Self.checkRange(items, below: itemEmbedding.matrixRows, of: "items.embedding")
    }
    for layer in layers.indices { intern(layer, items, into: &result[layer]) }
    return Entries(count: items.count, layers: result, items: items)
  }

  /// Rows whose embeddings are gathered at a time: enough for the kernels, little enough for the cache.
  private static let gatheredRowLimit = 1024

  private func encodeGathered(_ items: [Int64], into result: inout [LayerEntries]) throws(StoreError) {
    guard let itemEmbedding else { throw .invalidInput("the model has no items.embedding: embeddings are needed") }
    try Self.checkRange(items, below: itemEmbedding.matrixRows, of: "items.embedding")
    let width = shape.embeddingWidth
    precondition(itemEmbedding.matrixWidth == width)
    let indices = items.map { UInt32(truncatingIfNeeded: $0) }
    var gathered = [Float](repeating: 0, count: min(items.count, Self.gatheredRowLimit) * width)
    for first in stride(from: 0, to: items.count, by: Self.gatheredRowLimit) {
      let count = min(items.count - first, Self.gatheredRowLimit)
      try unsafe gathered.withUnsafeMutableBufferPointer { (numbers) throws(StoreError) in
        let start = numbers.baseAddress!
        unsafe itemEmbedding.withUnsafeBytes { bytes in
          unsafe indices.withUnsafeBufferPointer { indices in
            unsafe Kernels.active.rows(of: itemEmbedding.element).widen_rows(
              bytes.baseAddress!, width, indices.baseAddress! + first, count, width, start, width)
          }
        }
        let rows = unsafe EmbeddingRows(start: start, stride: width, count: count, width: width)
        try unsafe checkFinite(rows, layer: nil, firstRow: first)
        for layer in layers.indices { unsafe encode(layer, rows, into: &result[layer], at: first) }
      }
    }
  }
}
