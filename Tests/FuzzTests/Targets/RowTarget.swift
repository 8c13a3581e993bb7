/// Fuzz target: the payload of a row, unpacked in one of several layouts.

import CacheTypes
import RowStorage

enum RowTarget {
  private static func part(_ user: Int, _ rows: Int, isAdditive: Bool = false, hasRouter: Bool = true) -> PartShape {
    PartShape(userWidth: user, poolWidth: 4, poolRows: rows, isAdditive: isAdditive, hasRouter: hasRouter)
  }

  private static let layers: [[LayerShape]] = [
    [LayerShape(key: part(2, 9), value: part(1, 4), heads: 1)],
    [LayerShape(key: part(0, 1), value: part(0, 1, hasRouter: false), heads: 1)],
    [
      LayerShape(key: part(3, 1_000), value: nil, heads: 1), LayerShape(key: part(0, 50), value: part(2, 50), heads: 2),
    ],
    [LayerShape(key: part(1, 3, isAdditive: true), value: part(1, 1 << 20, isAdditive: true), heads: 4)],
  ]

  static func run(_ bytes: [UInt8]) {
    var input = FuzzBytes(bytes)
    let choice = Int(input.byte())
    let shape = ModelShape(embeddingWidth: 4, layers: layers[choice % layers.count])
    guard let element = ElementType(rawValue: UInt8(choice / 4 % 4)) else { return }
    let columns = KeptColumns(rawValue: Int64(choice / 16 % 4))
    let codec = RowCodec(layout: RowLayout(shape: shape, element: element, columns: columns))
    let count = input.number(below: 600) + 1
    let first = input.number(below: count)
    let range = first..<first + input.number(below: count - first + 1)
    let payload = input.all()
    // Columns longer than what is unpacked, with a mark around it.
    let mark: UInt32 = 0xABCD_EF01
    var entries = Entries(
      zeroed: shape, count: range.count + 2, keepsItems: columns.contains(.items),
      keepsTimestamps: columns.contains(.timestamps))
    for layer in entries.layers.indices where !entries.layers[layer].keyIndices.isEmpty {
      entries.layers[layer].keyIndices[0] = mark
      entries.layers[layer].keyIndices[range.count + 1] = mark
    }
    let isUnpacked = payload.withUnsafeBytes { payload in
      (try? codec.unpack(
        payload, count: count, range: range, wanted: 0..<shape.layers.count, into: &entries, at: 1, place: "row"))
        != nil
    }
    for (layer, columns) in zip(shape.layers, entries.layers) {
      precondition(columns.keyIndices[0] == mark && columns.keyIndices[range.count + 1] == mark, "within its columns")
      guard isUnpacked else { continue }
      precondition(
        columns.keyIndices.dropFirst().prefix(range.count).allSatisfy { $0 < layer.key.poolRows }, "rows of the pool")
      if layer.storesValueIndices, let value = layer.value {
        precondition(columns.valueIndices.allSatisfy { $0 < value.poolRows }, "rows of the pool")
      }
    }
  }
}
