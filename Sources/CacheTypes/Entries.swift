/// Entries: what is kept of each position, column by column. The encoder makes them, the row codec packs them, the
/// attention runtime reads them. Nobody else needs to know how the others lay them out.

/// One layer's entries of `count` positions.
public struct LayerEntries: Hashable, Sendable {
  /// I_k, one per position.
  public var keyIndices: [UInt32]
  /// I_v, one per position; empty if the layer is key-only or its values use the keys' indices.
  public var valueIndices: [UInt32]
  /// u_k, dimension by dimension: `d_u x count`.
  public var keyUser: [Float]
  /// u_v, dimension by dimension: `d_u' x count`; empty if the layer is key-only.
  public var valueUser: [Float]

  public init(keyIndices: [UInt32] = [], valueIndices: [UInt32] = [], keyUser: [Float] = [], valueUser: [Float] = []) {
    self.keyIndices = keyIndices
    self.valueIndices = valueIndices
    self.keyUser = keyUser
    self.valueUser = valueUser
  }

  /// Zeroed columns for `count` positions of a layer.
  package init(zeroed shape: LayerShape, count: Int) {
    keyIndices = Array(repeating: 0, count: count)
    valueIndices = Array(repeating: 0, count: shape.storesValueIndices ? count : 0)
    keyUser = Array(repeating: 0, count: shape.key.userWidth * count)
    valueUser = Array(repeating: 0, count: (shape.value?.userWidth ?? 0) * count)
  }
}

/// The entries of `count` positions over all layers, with the optional columns.
public struct Entries: Hashable, Sendable {
  public var count: Int
  public var layers: [LayerEntries]
  /// Item ids; `nil` if not kept.
  public var items: [Int64]?
  /// Times of the events, in the caller's unit; `nil` if not kept.
  public var timestamps: [Int64]?

  public init(count: Int, layers: [LayerEntries], items: [Int64]? = nil, timestamps: [Int64]? = nil) {
    self.count = count
    self.layers = layers
    self.items = items
    self.timestamps = timestamps
  }

  /// Zeroed columns for `count` positions of a model; layers that are not wanted stay empty.
  package init(
    zeroed shape: ModelShape, layers wanted: Range<Int>? = nil, count: Int, keepsItems: Bool = false,
    keepsTimestamps: Bool = false
  ) {
    var layers: [LayerEntries] = []
    layers.reserveCapacity(shape.layers.count)
    for (number, layer) in shape.layers.enumerated() {
      layers.append(wanted?.contains(number) ?? true ? LayerEntries(zeroed: layer, count: count) : LayerEntries())
    }
    self.init(
      count: count, layers: layers,
      items: keepsItems ? Array(repeating: 0, count: count) : nil,
      timestamps: keepsTimestamps ? Array(repeating: 0, count: count) : nil)
  }

  /// Bytes of the layers' columns.
  package var byteCount: Int {
    layers.reduce(0) { total, layer in
      total + 4 * (layer.keyIndices.count + layer.valueIndices.count + layer.keyUser.count + layer.valueUser.count)
    }
  }

  /// Bytes of the columns of `count` positions of a model.
  package static func byteCount(_ shape: ModelShape, layers wanted: Range<Int>?, count: Int) -> Int {
    let layers = shape.layers[wanted ?? shape.layers.indices]
    return layers.reduce(0) { total, layer in
      let value = layer.value?.userWidth ?? 0
      return total + 4 * count * (1 + (layer.storesValueIndices ? 1 : 0) + layer.key.userWidth + value)
    }
  }

  /// Gives the columns room for `count` positions, in the memory that they have if it suffices. What they then hold is
  /// whatever was there: every position is to be written. Optional columns are dropped.
  package mutating func resize(for shape: ModelShape, layers wanted: Range<Int>?, count: Int) {
    func resize<Number: Numeric>(_ column: inout [Number], to count: Int) {
      guard column.capacity >= count else {
        // Numbers have no invalid bits, and whoever asks for the room writes every one before anybody reads it.
        column = unsafe Array(unsafeUninitializedCapacity: count) { _, initialized in initialized = count }
        return
      }
      if column.count > count { column.removeLast(column.count - count) }
      if column.count < count { column.append(contentsOf: repeatElement(0, count: count - column.count)) }
    }
    self.count = count
    items = nil
    timestamps = nil
    while layers.count < shape.layers.count { layers.append(LayerEntries()) }
    for (number, layer) in shape.layers.enumerated() {
      let count = wanted?.contains(number) ?? true ? count : 0
      resize(&layers[number].keyIndices, to: count)
      resize(&layers[number].valueIndices, to: layer.storesValueIndices ? count : 0)
      resize(&layers[number].keyUser, to: layer.key.userWidth * count)
      resize(&layers[number].valueUser, to: (layer.value?.userWidth ?? 0) * count)
    }
  }

  /// Copies positions `rows` of `other`, an `Entries` of the same model, to the positions from `place` on.
  package mutating func replace(from place: Int, with other: Entries, _ rows: Range<Int>) {
    let (count, otherCount) = (count, other.count)
    func copy<Element>(_ source: [Element], into target: inout [Element]) {
      guard otherCount > 0, count > 0 else { return }
      for dimension in 0..<source.count / otherCount {
        let start = dimension * count + place
        let first = dimension * otherCount
        target.replaceSubrange(
          start..<start + rows.count, with: source[first + rows.lowerBound..<first + rows.upperBound])
      }
    }
    for number in layers.indices {
      copy(other.layers[number].keyIndices, into: &layers[number].keyIndices)
      copy(other.layers[number].valueIndices, into: &layers[number].valueIndices)
      copy(other.layers[number].keyUser, into: &layers[number].keyUser)
      copy(other.layers[number].valueUser, into: &layers[number].valueUser)
    }
    if items != nil, let source = other.items { copy(source, into: &items!) }
    if timestamps != nil, let source = other.timestamps { copy(source, into: &timestamps!) }
  }

  /// Checks every column's length, every index's range and every number's finiteness against the model.
  ///
  /// - Throws: `StoreError.invalidInput` naming the layer, the column and the first offending position.
  package func validate(against shape: ModelShape, element: ElementType) throws(StoreError) {
    try validateCounts(against: shape)
    for (number, (layer, wanted)) in zip(layers, shape.layers).enumerated() {
      try Self.checkIndices(layer.keyIndices, below: wanted.key.poolRows, number, "key.index")
      if let value = wanted.value {
        try Self.checkIndices(layer.valueIndices, below: value.poolRows, number, "value.index")
      }
      try checkNumbers(layer.keyUser, element, number, "key.user")
      try checkNumbers(layer.valueUser, element, number, "value.user")
    }
  }

  /// Checks every column's length against the model.
  package func validateCounts(against shape: ModelShape) throws(StoreError) {
    guard layers.count == shape.layers.count else {
      throw .invalidInput("entries have \(layers.count) layers, the model has \(shape.layers.count)")
    }
    func check(_ seen: Int, _ expected: Int, _ layer: Int, _ name: StaticString) throws(StoreError) {
      guard seen == expected else {
        throw .invalidInput("layers.\(layer).\(name) has \(seen) numbers, expected \(expected)")
      }
    }
    for (number, (layer, wanted)) in zip(layers, shape.layers).enumerated() {
      try check(layer.keyIndices.count, count, number, "key.index")
      try check(layer.valueIndices.count, wanted.storesValueIndices ? count : 0, number, "value.index")
      try check(layer.keyUser.count, wanted.key.userWidth * count, number, "key.user")
      try check(layer.valueUser.count, (wanted.value?.userWidth ?? 0) * count, number, "value.user")
    }
    if let items, items.count != count { throw .invalidInput("\(items.count) items for \(count) positions") }
    if let timestamps, timestamps.count != count {
      throw .invalidInput("\(timestamps.count) timestamps for \(count) positions")
    }
  }

  private static func checkIndices(
    _ column: [UInt32], below limit: Int, _ layer: Int, _ name: StaticString
  ) throws(StoreError) {
    guard Int(column.max() ?? 0) >= limit, let row = column.firstIndex(where: { Int($0) >= limit }) else { return }
    throw .invalidInput("layers.\(layer).\(name) at row \(row) is \(column[row]), the pool has \(limit) rows")
  }

  private func checkNumbers(
    _ column: [Float], _ element: ElementType, _ layer: Int, _ name: StaticString
  ) throws(StoreError) {
    let limit = element.overflow
    for place in column.indices where !(column[place].magnitude < limit) {
      let row = count == 0 ? 0 : place % count
      throw .invalidInput(
        "layers.\(layer).\(name) at row \(row) is \(column[place]), which \(element.name) cannot hold"
      )
    }
  }
}
