import CacheTypes
import Testing

struct EntriesTests {
  static func part(_ userWidth: Int, _ poolRows: Int, hasRouter: Bool = true) -> PartShape {
    PartShape(userWidth: userWidth, poolWidth: 4, poolRows: poolRows, isAdditive: false, hasRouter: hasRouter)
  }

  /// Two routers; a shared one; key-only.
  static let shape = ModelShape(
    embeddingWidth: 4,
    layers: [
      LayerShape(key: part(2, 10), value: part(1, 5), heads: 1),
      LayerShape(key: part(0, 3), value: part(3, 3, hasRouter: false), heads: 1),
      LayerShape(key: part(1, 7), value: nil, heads: 1),
    ])

  static func entries(_ count: Int, from first: Int = 0) -> Entries {
    var entries = Entries(zeroed: shape, count: count, keepsItems: true, keepsTimestamps: true)
    for position in 0..<count {
      let number = first + position
      for layer in 0..<3 { entries.layers[layer].keyIndices[position] = UInt32(number % 3) }
      entries.layers[0].valueIndices[position] = UInt32(number % 5)
      for dimension in 0..<2 {
        entries.layers[0].keyUser[dimension * count + position] = Float(number * 10 + dimension)
      }
      entries.layers[0].valueUser[position] = Float(number)
      for dimension in 0..<3 {
        entries.layers[1].valueUser[dimension * count + position] = Float(number * 10 + dimension)
      }
      entries.layers[2].keyUser[position] = Float(-number)
      entries.items![position] = Int64(number) + 1_000
      entries.timestamps![position] = Int64(number) + 5_000
    }
    return entries
  }

  @Test func `columns of zeros have the lengths that validation wants`() throws {
    for count in [0, 1, 7] {
      let entries = Entries(zeroed: Self.shape, count: count, keepsItems: true, keepsTimestamps: true)
      try entries.validate(against: Self.shape, element: .f16)
      #expect(entries.layers.map(\.keyIndices.count) == [count, count, count])
      #expect(entries.layers.map(\.valueIndices.count) == [count, 0, 0])
      #expect(entries.layers.map(\.keyUser.count) == [2 * count, 0, count])
      #expect(entries.layers.map(\.valueUser.count) == [count, 3 * count, 0])
    }
    let some = Entries(zeroed: Self.shape, layers: 1..<2, count: 3)
    #expect(some.layers.map(\.keyIndices.count) == [0, 3, 0])
    #expect(some.items == nil && some.timestamps == nil)
  }

  @Test func `entries put together from parts are the whole`() {
    let whole = Self.entries(12)
    for cut in 0...12 {
      var built = Entries(zeroed: Self.shape, count: 12, keepsItems: true, keepsTimestamps: true)
      built.replace(from: 0, with: Self.entries(cut), 0..<cut)
      built.replace(from: cut, with: whole, cut..<12)
      #expect(built == whole)
      // From the middle of other entries, in reverse order.
      var again = Entries(zeroed: Self.shape, count: 12, keepsItems: true, keepsTimestamps: true)
      for position in (0..<12).reversed() { again.replace(from: position, with: whole, position..<position + 1) }
      #expect(again == whole)
    }
  }

  @Test func `optional columns are copied only where both have them`() {
    var target = Entries(zeroed: Self.shape, count: 2, keepsItems: true)
    var source = Self.entries(2)
    source.items = nil
    target.replace(from: 0, with: source, 0..<2)
    #expect(target.items == [0, 0] && target.timestamps == nil)
  }

  @Test func `what does not fit the model is refused by name`() {
    func refusal(_ change: (inout Entries) -> Void, element: ElementType = .f32) -> String? {
      var entries = Self.entries(3)
      change(&entries)
      do throws(StoreError) {
        try entries.validate(against: Self.shape, element: element)
        return nil
      } catch {
        if case .invalidInput(let text) = error { return text }
        return "\(error)"
      }
    }
    #expect(refusal { _ in } == nil)
    let cases: [(String, (inout Entries) -> Void)] = [
      ("2 layers", { $0.layers.removeLast() }),
      ("layers.0.key.index has 2", { $0.layers[0].keyIndices.removeLast() }),
      ("layers.2.key.index has 4", { $0.layers[2].keyIndices.append(0) }),
      ("layers.0.value.index has 0", { $0.layers[0].valueIndices = [] }),
      ("layers.1.value.index has 3", { $0.layers[1].valueIndices = [0, 0, 0] }),
      ("layers.2.value.index has 1", { $0.layers[2].valueIndices = [0] }),
      ("layers.0.key.user has 5", { $0.layers[0].keyUser.removeLast() }),
      ("layers.1.key.user has 1", { $0.layers[1].keyUser = [0] }),
      ("layers.2.value.user has 1", { $0.layers[2].valueUser = [0] }),
      ("layers.0.key.index at row 1 is 10", { $0.layers[0].keyIndices[1] = 10 }),
      ("layers.0.value.index at row 2 is 5", { $0.layers[0].valueIndices[2] = 5 }),
      ("layers.1.key.index at row 0 is \(UInt32.max)", { $0.layers[1].keyIndices[0] = .max }),
      ("layers.0.key.user at row 2 is nan", { $0.layers[0].keyUser[5] = .nan }),
      ("layers.1.value.user at row 0 is inf", { $0.layers[1].valueUser[3] = .infinity }),
      ("2 items", { $0.items!.removeLast() }), ("4 timestamps", { $0.timestamps!.append(1) }),
      ("expected 4", { $0.count = 4 }), ("expected -1", { $0.count = -1 }),
    ]
    for (text, change) in cases {
      let reason = refusal(change)
      #expect(reason?.contains(text) == true, "\(reason ?? "accepted") for \(text)")
    }
    #expect(refusal({ $0.items = nil }) == nil)
  }

  @Test func `a number is refused where its element type would make it infinite`() {
    func isAccepted(_ number: Float, _ element: ElementType) -> Bool {
      var entries = Self.entries(1)
      entries.layers[0].valueUser[0] = number
      do throws(StoreError) {
        try entries.validate(against: Self.shape, element: element)
        return true
      } catch { return false }
    }
    #expect(isAccepted(65_519, .f16) && isAccepted(65_519, .i8))
    #expect(!isAccepted(65_520, .f16) && !isAccepted(-65_520, .i8))
    #expect(isAccepted(65_520, .bf16) && isAccepted(65_520, .f32))
    #expect(!isAccepted(.greatestFiniteMagnitude, .bf16) && isAccepted(.greatestFiniteMagnitude, .f32))
  }
}
