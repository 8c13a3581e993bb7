import CacheTypes
import RowStorage
import Testing

/// A random layout with entries for it.
struct RandomRow {
  var layout: RowLayout
  var entries: Entries

  init(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    func part(hasRouter: Bool) -> PartShape {
      let rows = [1, 2, 3, 7, 256, 257, 1_024, 70_000, 1 << 31].randomElement(using: &random)!
      return Sample.part(
        Int.random(in: 0...4, using: &random), Int.random(in: 1...9, using: &random), rows,
        isAdditive: Bool.random(using: &random), hasRouter: hasRouter)
    }
    let layers = (0..<Int.random(in: 1...4, using: &random)).map { _ in
      LayerShape(
        key: part(hasRouter: Bool.random(using: &random)),
        value: Bool.random(using: &random) ? part(hasRouter: Bool.random(using: &random)) : nil, heads: 1)
    }
    let shape = ModelShape(embeddingWidth: 4, layers: layers)
    let element = ElementType.allCases.randomElement(using: &random)!
    layout = RowLayout(
      shape: shape, element: element, columns: KeptColumns(rawValue: Int64.random(in: 0...3, using: &random)))
    let count = Int.random(in: 1...40, using: &random)
    let tags = (0..<count).map { _ in UInt32.random(in: 0 ... .max, using: &random) }
    entries = Sample.entries(tags, shape, columns: layout.columns)
    // Indices that need every bit.
    for number in layers.indices where Bool.random(using: &random) {
      entries.layers[number].keyIndices[count - 1] = UInt32(layers[number].key.poolRows - 1)
    }
  }

  var codec: RowCodec { RowCodec(layout: layout) }

  func packed(_ rows: Range<Int>? = nil, as element: ElementType? = nil) -> [UInt8] {
    var buffer = ByteBuffer(capacity: 8)
    codec.pack(entries, rows ?? 0..<entries.count, as: element ?? layout.element, into: &buffer)
    return Array(buffer.bytes)
  }

  /// Decodes positions of a payload.
  func unpacked(
    _ payload: [UInt8], count: Int, range: Range<Int>? = nil, wanted: Range<Int>? = nil
  ) throws(StoreError) -> Entries {
    let range = range ?? 0..<count
    var result = Entries(
      zeroed: layout.shape, count: range.count, keepsItems: layout.columns.contains(.items),
      keepsTimestamps: layout.columns.contains(.timestamps))
    let failure: StoreError? = payload.withUnsafeBytes { bytes in
      do throws(StoreError) {
        try codec.unpack(
          bytes, count: count, range: range, wanted: wanted ?? 0..<layout.shape.layers.count, into: &result, at: 0,
          place: "row")
        return nil
      } catch { return error }
    }
    if let failure { throw failure }
    return result
  }

  /// The entries of some positions.
  func expected(_ rows: Range<Int>) -> Entries {
    var result = Entries(
      zeroed: layout.shape, count: rows.count, keepsItems: layout.columns.contains(.items),
      keepsTimestamps: layout.columns.contains(.timestamps))
    result.replace(from: 0, with: entries, rows)
    return result
  }
}

struct RowCodecTests {
  @Test(arguments: 0..<400)
  func `entries of any layout come back`(seed: UInt64) throws {
    let row = RandomRow(seed: seed)
    let count = row.entries.count
    let element = row.layout.element == .i8 ? ElementType.f16 : row.layout.element
    #expect(try row.unpacked(row.packed(as: element), count: count) == row.expected(0..<count))

    var random = SplitMix64(seed: seed ^ 0xABCD)
    let from = Int.random(in: 0..<count, using: &random)
    let to = Int.random(in: from...count, using: &random)
    #expect(try row.unpacked(row.packed(as: element), count: count, range: from..<to) == row.expected(from..<to))
    if from < to {
      #expect(try row.unpacked(row.packed(from..<to, as: element), count: to - from) == row.expected(from..<to))
    }
  }

  @Test(arguments: 0..<200)
  func `eight-bit rows keep indices and columns exactly and numbers nearly`(seed: UInt64) throws {
    var row = RandomRow(seed: seed)
    row.layout.element = .i8
    let back = try row.unpacked(row.packed(as: .i8), count: row.entries.count)
    #expect(back.items == row.entries.items)
    #expect(back.timestamps == row.entries.timestamps)
    for (layer, original) in zip(back.layers, row.entries.layers) {
      #expect(layer.keyIndices == original.keyIndices)
      #expect(layer.valueIndices == original.valueIndices)
      for (value, wanted) in zip(layer.keyUser + layer.valueUser, original.keyUser + original.valueUser) {
        // Numbers lie between -2 and 2.
        #expect(abs(value - wanted) <= 2.0 / 127 / 2 * 1.01, "seed \(seed)")
      }
    }
  }

  @Test(arguments: 0..<200)
  func `a slice of a row decodes to that part of it, in every element type`(seed: UInt64) throws {
    let row = RandomRow(seed: seed)
    let count = row.entries.count
    var random = SplitMix64(seed: seed ^ 0x51)
    let from = Int.random(in: 0..<count, using: &random)
    let to = Int.random(in: from + 1...count, using: &random)
    let payload = row.packed()
    var buffer = ByteBuffer(capacity: 8)
    payload.withUnsafeBytes { row.codec.slice($0, count: count, from..<to, into: &buffer) }
    let slice = Array(buffer.bytes)
    #expect(try row.unpacked(slice, count: to - from) == row.unpacked(payload, count: count, range: from..<to))
    if row.layout.element != .i8 { #expect(slice == row.packed(from..<to)) }
  }

  @Test(arguments: [ElementType.f32, .f16, .bf16])
  func `numbers come back rounded to the element type`(element: ElementType) throws {
    var random = SplitMix64(seed: 77)
    let shape = Sample.plain
    var entries = Sample.entries(Array(0..<500), shape)
    for index in entries.layers[0].keyUser.indices {
      entries.layers[0].keyUser[index] = Float.random(in: -1...1, using: &random) * Float(1 << (index % 14))
    }
    var row = RandomRow(seed: 0)
    row.layout = RowLayout(shape: shape, element: element, columns: [])
    row.entries = entries
    let back = try row.unpacked(row.packed(), count: 500)
    #expect(back.layers[0].keyUser == entries.layers[0].keyUser.map(element.rounded))
  }

  @Test(arguments: 0..<50)
  func `layers that are not wanted stay untouched`(seed: UInt64) throws {
    let row = RandomRow(seed: seed)
    let element = row.layout.element.arrival
    let payload = row.packed(as: element)
    for layer in row.layout.shape.layers.indices {
      let back = try row.unpacked(payload, count: row.entries.count, wanted: layer..<layer + 1)
      for (number, shape) in row.layout.shape.layers.enumerated() {
        let wanted =
          number == layer ? row.entries.layers[number] : LayerEntries(zeroed: shape, count: row.entries.count)
        #expect(back.layers[number] == wanted)
      }
    }
  }

  @Test(arguments: [Sample.plain, Sample.wide, Sample.mixed])
  func `a model's layout comes back, and nothing else is taken for one`(shape: ModelShape) {
    let bytes = shape.encodedLayout
    #expect(ModelShape(encodedLayout: bytes) == shape)
    for length in 0..<bytes.count { #expect(ModelShape(encodedLayout: Array(bytes[..<length])) == nil) }
    #expect(ModelShape(encodedLayout: bytes + [0, 0, 0, 0]) == nil)
    for place in bytes.indices {
      for bit in 0..<8 {
        var wrong = bytes
        wrong[place] ^= 1 << UInt8(bit)
        // Whatever is accepted can be worked with.
        if let other = ModelShape(encodedLayout: wrong) {
          for element in ElementType.allCases {
            let layout = RowLayout(shape: other, element: element, columns: [.items, .timestamps])
            #expect(layout.blockCapacity(pageByteCount: 4_096) >= 1)
          }
        }
      }
    }
  }

  @Test func `a full block takes at most an eighth of a page, in eight bits a fifth, and half a page until then`() {
    for shape in [Sample.plain, Sample.wide] {
      for element in ElementType.allCases {
        for pageByteCount in RowStore.pageByteCounts {
          let layout = RowLayout(shape: shape, element: element, columns: [])
          let capacity = layout.blockCapacity(pageByteCount: pageByteCount)
          let tags = (0..<UInt32(capacity)).map { $0 }
          var row = RandomRow(seed: 0)
          row.layout = layout
          row.entries = Sample.entries(tags, shape)
          #expect(capacity > 1)
          let part = element == .i8 ? 5 : 8
          #expect(row.packed().count + 28 <= (pageByteCount - 16) / part, "\(element), \(pageByteCount)")
          #expect(row.packed(as: element.arrival).count <= pageByteCount / 2)
        }
      }
    }
  }
}
