import CacheTypes
import RowStorage
import Testing

struct RowCodecDamageTests {
  @Test(arguments: 0..<60)
  func `a flipped bit gives an error or entries of the same shape, which the checksum refuses`(seed: UInt64) {
    let row = RandomRow(seed: seed)
    let payload = row.packed(as: seed % 2 == 0 ? row.layout.element : row.layout.element.arrival)
    let count = row.entries.count
    let place = RowPlace(user: .integer(1), position: 0, count: count, generation: 1)
    let checksum = payload.withUnsafeBytes { RowChecksum.of(place, $0) }
    for index in payload.indices {
      var wrong = payload
      wrong[index] ^= 1 << UInt8((index + Int(seed)) % 8)
      #expect(wrong.withUnsafeBytes { RowChecksum.of(place, $0) } != checksum)
      do throws(StoreError) {
        let entries = try row.unpacked(wrong, count: count)
        #expect(entries.count == count)
        for (layer, shape) in zip(entries.layers, row.layout.shape.layers) {
          #expect(layer.keyIndices.allSatisfy { Int($0) < shape.key.poolRows })
          #expect(layer.valueIndices.allSatisfy { Int($0) < shape.value?.poolRows ?? 0 })
        }
      } catch {
        guard case .damaged = error else {
          Issue.record("seed \(seed), byte \(index): \(error)")
          return
        }
      }
    }
  }

  @Test(arguments: 0..<60)
  func `every truncation and every added byte is damage`(seed: UInt64) {
    let row = RandomRow(seed: seed)
    let payload = row.packed()
    for length in 0..<payload.count {
      #expect(throws: StoreError.self) { _ = try row.unpacked(Array(payload[..<length]), count: row.entries.count) }
    }
    #expect(throws: StoreError.self) { _ = try row.unpacked(payload + [0], count: row.entries.count) }
  }

  @Test(arguments: 0..<60)
  func `a payload read with another count is damage or holds that many`(seed: UInt64) {
    let row = RandomRow(seed: seed)
    let payload = row.packed()
    for count in [1, 2, row.entries.count - 1, row.entries.count + 1, 1_000, 65_536] where count > 0 {
      if let entries = try? row.unpacked(payload, count: count) { #expect(entries.count == count) }
    }
  }

  @Test(arguments: 0..<200)
  func `random bytes never trap`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let row = RandomRow(seed: seed % 20)
    for _ in 0..<50 {
      var bytes = (0..<Int.random(in: 0...300, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      if !bytes.isEmpty { bytes[0] %= 5 }
      _ = try? row.unpacked(bytes, count: Int.random(in: 1...60, using: &random))
    }
  }

  @Test func `an element type that the layout cannot hold is damage`() {
    for layoutElement in ElementType.allCases {
      var row = RandomRow(seed: 3)
      row.layout.element = layoutElement
      for element in ElementType.allCases {
        let isHeld = element == layoutElement || (layoutElement == .i8 && element == .f16)
        let payload = row.packed(as: element)
        let isRead = (try? row.unpacked(payload, count: row.entries.count)) != nil
        #expect(isRead == isHeld, "\(element) in a layout of \(layoutElement)")
      }
      for first in UInt8(4)...255 {
        var payload = row.packed()
        payload[0] = first
        #expect(throws: StoreError.self) { _ = try row.unpacked(payload, count: row.entries.count) }
      }
    }
  }
}
