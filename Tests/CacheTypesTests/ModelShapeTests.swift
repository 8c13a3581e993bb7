import CacheTypes
import Testing

struct ModelShapeTests {
  static func part(
    _ userWidth: Int, _ poolWidth: Int, _ poolRows: Int, isAdditive: Bool = false, hasRouter: Bool = true
  ) -> PartShape {
    PartShape(
      userWidth: userWidth, poolWidth: poolWidth, poolRows: poolRows, isAdditive: isAdditive, hasRouter: hasRouter)
  }

  @Test func `an index takes the bits that its pool's rows need`() {
    let bits = [0, 1, 2, 3, 4, 5, 8, 9, 255, 256, 257, 1_024, 1_025, 1 << 31, 1 << 32].map {
      Self.part(0, 1, $0).indexBits
    }
    #expect(bits == [0, 0, 1, 2, 2, 3, 3, 4, 8, 8, 9, 10, 11, 31, 32])
  }

  @Test func `a key is as wide as its user part and pool together, or as its pool where a basis maps into it`() {
    #expect(Self.part(2, 6, 10).width == 8)
    #expect(Self.part(0, 6, 10).width == 6)
    #expect(Self.part(2, 6, 10, isAdditive: true).width == 6)
  }

  @Test func `a layer says what its rows hold`() {
    let routed = LayerShape(key: Self.part(2, 6, 10), value: Self.part(1, 7, 5), heads: 2)
    let shared = LayerShape(key: Self.part(2, 6, 10), value: Self.part(1, 7, 10, hasRouter: false), heads: 2)
    let keyOnly = LayerShape(key: Self.part(2, 6, 10), value: nil, heads: 2)
    let interned = LayerShape(key: Self.part(0, 6, 10, hasRouter: false), value: Self.part(1, 7, 5), heads: 1)
    #expect([routed, shared, keyOnly, interned].map(\.storesValueIndices) == [true, false, false, true])
    #expect([routed, shared, keyOnly, interned].map(\.sharesRouter) == [false, true, false, false])
    #expect([routed, shared, keyOnly, interned].map(\.isInterned) == [false, false, false, true])

    let model = ModelShape(embeddingWidth: 4, layers: [routed, shared, keyOnly])
    #expect(!model.needsItems)
    #expect(ModelShape(embeddingWidth: 4, layers: [routed, interned]).needsItems)
    #expect(model.fullWidth == (8 + 8) + (8 + 8) + 8)
    #expect(model.userWidth == (2 + 1) + (2 + 1) + 2)
    #expect(model.indexBits == (4 + 3) + 4 + 4)
  }
}
