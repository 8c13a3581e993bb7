/// What a row of one generation is made of, and its description in the database: enough to decode a row without the
/// model's blob.

package import CacheTypes

/// The optional columns that a store keeps for every position.
package struct KeptColumns: OptionSet, Sendable, Hashable {
  package let rawValue: Int64
  package init(rawValue: Int64) { self.rawValue = rawValue }
  package static let items = KeptColumns(rawValue: 1)
  package static let timestamps = KeptColumns(rawValue: 2)
  static let all: KeptColumns = [.items, .timestamps]
}

/// The columns of a row.
package struct RowLayout: Hashable, Sendable {
  package var shape: ModelShape
  package var element: ElementType
  package var columns: KeptColumns

  package init(shape: ModelShape, element: ElementType, columns: KeptColumns) {
    self.shape = shape
    self.element = element
    self.columns = columns
  }

  /// Bytes of a row beside its payload: record header, count, generation, checksum, key, cell header and cell pointer.
  static let rowOverheadByteCount = 28
  /// Bytes that a page loses: its header and its checksum.
  static let pageOverheadByteCount = 16
  /// A full block takes this part of a page: much larger ones would leave gaps until the next vacuum, much smaller ones
  /// spend more on keys and checksums. Of 8 to 12, nine left the least. An eight-bit block has scales of its own, too,
  /// and is never put together with its neighbours again: of four and five, five left 1.09 of the payload after vacuum
  /// for histories of 500 and of log-normal lengths.
  private var blocksPerPage: Int { element == .i8 ? 5 : 9 }

  /// Estimated bits of the optional columns per position: item ids and seconds of one user lie close together.
  private var columnBits: Int {
    (columns.contains(.items) ? 20 : 0) + (columns.contains(.timestamps) ? 26 : 0)
  }

  /// Payload bits of one position, without what a row has once.
  var bitsPerPosition: Int { shape.indexBits + shape.userWidth * element.byteCount * 8 + columnBits }

  /// Payload bytes of a row of `count` positions whose optional columns are constant: no row of so many positions has
  /// fewer.
  package func leastByteCount(count: Int, as element: ElementType) -> Int {
    var total = 1
    for layer in shape.layers {
      total += BitColumn.byteCount(bits: layer.key.indexBits, count: count)
      if layer.storesValueIndices, let value = layer.value {
        total += BitColumn.byteCount(bits: value.indexBits, count: count)
      }
      let userWidth = layer.key.userWidth + (layer.value?.userWidth ?? 0)
      total += userWidth * Quantiser.columnByteCount(element, count: count)
    }
    for column in [KeptColumns.items, .timestamps] where columns.contains(column) {
      total += IntegerColumn.headerByteCount
    }
    return total
  }

  /// Positions of a full block.
  package func blockCapacity(pageByteCount: Int) -> Int {
    capacity(
      ofByteCount: (pageByteCount - Self.pageOverheadByteCount) / blocksPerPage - Self.rowOverheadByteCount)
  }

  /// Positions whose payload, by estimate, has at most `budget` bytes; 1 if not even one has, and never more than a row
  /// may hold: positions of one bit, or of none, would come to more.
  func capacity(ofByteCount budget: Int) -> Int {
    let bits = (budget - leastByteCount(count: 0, as: element)) * 8
    var capacity = min(max(1, bits / max(bitsPerPosition, 1)), RowStore.rowCountLimit)
    // Every column of indices ends at a byte.
    while capacity > 1, leastByteCount(count: capacity, as: element) + (columnBits * capacity + 7) / 8 > budget {
      capacity -= 1
    }
    return capacity
  }

  /// Payload bytes of `count` positions in the store's element type: the floor that sizes on disk are measured against.
  package func payloadByteCount(positions count: Int) -> Int { (bitsPerPosition - columnBits) * count / 8 }
}

extension ModelShape {
  /// The model's shape as the `layout` column holds it: little-endian 32-bit integers; schema/format-1.md lists them.
  package var encodedLayout: [UInt8] {
    var numbers = [embeddingWidth, layers.count]
    for layer in layers {
      numbers.append(layer.heads)
      numbers.append(layer.value == nil ? 0 : 1)
      for part in [layer.key, layer.value ?? layer.key] {
        numbers += [part.userWidth, part.poolWidth, part.poolRows, part.isAdditive ? 1 : 0, part.hasRouter ? 1 : 0]
      }
    }
    return numbers.flatMap { number in (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) } }
  }

  /// Reads `encodedLayout`; `nil` if the bytes are not one.
  package init?(encodedLayout bytes: [UInt8]) {
    guard bytes.count.isMultiple(of: 4) else { return nil }
    var numbers: [Int] = []
    for place in stride(from: 0, to: bytes.count, by: 4) {
      numbers.append((0..<4).reduce(0) { $0 | Int(bytes[place + $1]) << ($1 * 8) })
    }
    guard numbers.count >= 2, numbers[1] <= 4_096, numbers.count == 2 + numbers[1] * 12 else { return nil }
    self.init(embeddingWidth: numbers[0], layers: [])
    for start in stride(from: 2, to: numbers.count, by: 12) {
      let flags = [
        numbers[start + 1], numbers[start + 5], numbers[start + 6], numbers[start + 10], numbers[start + 11],
      ]
      guard flags.allSatisfy({ $0 <= 1 }), numbers[start] > 0 else { return nil }
      func part(_ at: Int) -> PartShape {
        PartShape(
          userWidth: numbers[at], poolWidth: numbers[at + 1], poolRows: numbers[at + 2],
          isAdditive: numbers[at + 3] == 1, hasRouter: numbers[at + 4] == 1)
      }
      let key = part(start + 2)
      let value = numbers[start + 1] == 1 ? part(start + 7) : nil
      let widths = [key.userWidth, key.poolWidth, value?.userWidth ?? 0, value?.poolWidth ?? 0]
      guard widths.allSatisfy({ $0 <= 1 << 20 }) else { return nil }
      layers.append(LayerShape(key: key, value: value, heads: numbers[start]))
    }
  }
}
