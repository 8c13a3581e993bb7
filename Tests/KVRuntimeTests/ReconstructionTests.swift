import CacheTypes
import KVRuntime
import Testing

@Suite struct `Reconstruction of keys and values` {
  @Test(arguments: 0..<40)
  func `keys and values are what the definition says`(_ seed: Int) {
    var draw = Draw(seed)
    // Dyadic numbers and bases make the additive sums exact in 32 bits.
    let layer = RandomLayer(&draw, LayerPlan(isDyadic: true))
    let count = Int.random(in: 1...40, using: &draw)
    var entries = layer.entries(&draw, count: count)
    if layer.shape.key.isAdditive || layer.shape.value!.isAdditive {
      entries.keyUser = draw.dyadic(entries.keyUser.count)
      entries.valueUser = draw.dyadic(entries.valueUser.count)
    }
    let keys = Definition.keys(layer, entries, count)
    let values = Definition.values(layer, entries, count)
    let first = Int.random(in: 0...count, using: &draw)
    for range in [0..<count, first..<count, 0..<first, first..<first] {
      let seen = Reconstruction.reconstruct(
        entries, count: count, range: range, shape: layer.shape, tensors: layer.tensors)
      #expect(seen.keys.map(Double.init) == keys[range].flatMap { $0 })
      #expect(seen.values.map(Double.init) == values[range].flatMap { $0 })
    }
  }

  @Test func `additive numbers add the dimensions in order, fused, to the pool row`() {
    var draw = Draw(1)
    let layer = RandomLayer(&draw, LayerPlan(isAdditive: true, userWidths: (3, 3), heads: 2))
    let entries = layer.entries(&draw, count: 9)
    let seen = Reconstruction.reconstruct(entries, count: 9, range: 0..<9, shape: layer.shape, tensors: layer.tensors)
    let (pool, basis) = (layer.tensors.key.pool.floats(), layer.tensors.key.basis!.floats())
    let width = layer.shape.key.width
    for position in 0..<9 {
      for column in 0..<width {
        var wanted = pool[Int(entries.keyIndices[position]) * width + column]
        for d in 0..<3 { wanted = wanted.addingProduct(entries.keyUser[d * 9 + position], basis[column * 3 + d]) }
        #expect(seen.keys[position * width + column] == wanted)
      }
    }
  }

  @Test(arguments: 0..<24, [ElementType.f32, .f16, .bf16])
  func `what is written to memory is what is returned, rounded once`(_ seed: Int, _ element: ElementType) {
    var draw = Draw(seed)
    let layer = RandomLayer(&draw)
    let count = [1, 63, 64, 65, 130][seed % 5]
    let entries = layer.entries(&draw, count: count)
    for range in [0..<count, count / 3..<count] {
      let full = Reconstruction.reconstruct(
        entries, count: count, range: range, shape: layer.shape, tensors: layer.tensors)
      let sides = [(full.keys, layer.shape.key.width), (full.values, layer.shape.value!.width)]
      let gap = seed % 3 * 2
      let memories = sides.map { _, width in
        UnsafeMutableRawBufferPointer.allocate(byteCount: range.count * (width * element.byteCount + gap), alignment: 2)
      }
      defer { memories.forEach { $0.deallocate() } }
      func rows(_ side: Int) -> RowMemory {
        RowMemory(
          memories[side].baseAddress!, rowByteCount: sides[side].1 * element.byteCount + gap, element: element)
      }
      Reconstruction.write(
        entries, count: count, range: range, shape: layer.shape, tensors: layer.tensors, keys: rows(0), values: rows(1))
      for (side, (numbers, width)) in sides.enumerated() {
        for row in 0..<range.count {
          let seen = UnsafeRawBufferPointer(memories[side]).dropFirst(row * (width * element.byteCount + gap))
          let wanted = stored(Array(numbers[row * width..<(row + 1) * width]), element).bytes
          #expect(Array(seen.prefix(wanted.count)) == wanted)
        }
      }
    }
  }

  @Test func `a key-only layer has no values`() {
    var draw = Draw(2)
    let layer = RandomLayer(&draw, LayerPlan(isKeyOnly: true))
    let entries = layer.entries(&draw, count: 4)
    let seen = Reconstruction.reconstruct(entries, count: 4, range: 1..<3, shape: layer.shape, tensors: layer.tensors)
    #expect(seen.keys.count == 2 * layer.shape.key.width)
    #expect(seen.values.isEmpty)
  }

  @Test func `an index beyond the pool ends the process rather than reading there`() async {
    await #expect(processExitsWith: .failure) {
      var draw = Draw(3)
      let layer = RandomLayer(&draw)
      var entries = layer.entries(&draw, count: 4)
      entries.keyIndices[2] = UInt32(layer.shape.key.poolRows)
      _ = Reconstruction.reconstruct(entries, count: 4, range: 0..<1, shape: layer.shape, tensors: layer.tensors)
    }
  }
}
