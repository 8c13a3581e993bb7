/// Full keys and values written into memory that the caller owns.

import CollectiveKV
import Testing

struct ReconstructTests {
  private static func store(_ directory: TemporaryDirectory, length: Int) throws -> (CacheStore, TestModel) {
    let model = TestModel.random(seed: 3)
    let store = try directory.makeStore(model, .init(element: .f32, pageByteCount: 4_096, durability: .normal))
    var random = SeededRandom(3)
    try store.append([AppendRequest(Reference(model).events(length, &random)[...], user: 1)])
    return (store, model)
  }

  /// Memory of `count` bytes, all 0xA5, freed at the end.
  private static func withBytes(
    _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void
  ) rethrows {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4)
    defer { bytes.deallocate() }
    bytes.initializeMemory(as: UInt8.self, repeating: 0xA5)
    try body(bytes)
  }

  @Test func `strided rows hold what reconstruct returns and the gaps stay as they were`() throws {
    let directory = try TemporaryDirectory()
    let (store, model) = try Self.store(directory, length: 90)
    for layer in model.shape.layers.indices {
      for asked in [nil, 7..<60, 80..<200] as [Range<Int>?] {
        let full = try store.reconstruct(user: 1, layer: layer, positions: asked)
        let (count, rowByteCount) = (full.positions.count, full.keyWidth * 4 + 12)
        try Self.withBytes(count * rowByteCount) { bytes in
          let written = try store.reconstruct(
            user: 1, layer: layer, positions: asked,
            keys: RowDestination(bytes, rowByteCount: rowByteCount, element: .f32), values: nil)
          #expect(written == full.positions)
          for row in 0..<count {
            for column in 0..<full.keyWidth {
              let seen = bytes.load(fromByteOffset: row * rowByteCount + column * 4, as: Float.self)
              #expect(seen == full.keys[row * full.keyWidth + column])
            }
            let gap = bytes[row * rowByteCount + full.keyWidth * 4..<(row + 1) * rowByteCount]
            #expect(gap.allSatisfy { $0 == 0xA5 })
          }
        }
      }
    }
  }

  @Test func `memory that does not hold the rows is refused and stays as it was`() throws {
    let directory = try TemporaryDirectory()
    let (store, model) = try Self.store(directory, length: 5)
    let layer = try #require(model.shape.layers.firstIndex { $0.value != nil })
    let width = model.shape.layers[layer].value!.width
    try Self.withBytes(5 * width * 4) { bytes in
      func refusal(_ values: RowDestination) -> String {
        let error = thrown { () throws(StoreError) in
          try store.reconstruct(user: 1, layer: layer, keys: nil, values: values)
        }
        guard case .invalidInput(let reason) = error else { return "\(String(describing: error))" }
        return reason
      }
      let short = UnsafeMutableRawBufferPointer(rebasing: bytes.dropLast())
      #expect(refusal(RowDestination(short, element: .f32)).contains("too few for 5 rows of \(width * 4)"))
      #expect(refusal(RowDestination(bytes, rowByteCount: .max, element: .f32)).contains("too few"))
      #expect(refusal(RowDestination(bytes, rowByteCount: width * 4 - 1, element: .f32)).contains("do not fit"))
      #expect(refusal(RowDestination(bytes, rowByteCount: -8, element: .f32)).contains("do not fit"))
      #expect(refusal(RowDestination(bytes, element: .i8)).contains("not i8"))
      let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      #expect(refusal(RowDestination(nothing, element: .f16)) == "values: no memory for 5 rows")
      #expect(bytes.allSatisfy { $0 == 0xA5 })
      let empty = try store.reconstruct(
        user: 1, layer: layer, positions: 3..<3, keys: nil, values: RowDestination(nothing, element: .f16))
      #expect(empty.isEmpty)
    }
  }
}
