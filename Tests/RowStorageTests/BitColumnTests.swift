import RowStorage
import Testing

struct BitColumnTests {
  @Test(arguments: Array(0...57) + [64])
  func `every width gives back what was stored, at every length of the column`(bits: Int) {
    var random = SplitMix64(seed: UInt64(bits))
    let mask: UInt64 = bits == 64 ? .max : (1 << UInt64(bits)) - 1
    for count in 0...19 {
      let values = (0..<count).map { index in
        index % 5 == 0 ? mask : index % 5 == 1 ? 0 : random.next() & mask
      }
      var buffer = ByteBuffer()
      let column = buffer.extend(by: BitColumn.byteCount(bits: bits, count: count))
      #expect(column.count == (bits * count + 7) / 8)
      for (index, value) in values.enumerated() { BitColumn.store(value, bits: bits, at: index, in: column) }
      let loaded = (0..<count).map { BitColumn.load(bits: bits, at: $0, from: UnsafeRawBufferPointer(column)) }
      #expect(loaded == values, "\(bits) bits, \(count) values")
    }
  }

  @Test func `values stand lowest bit first`() {
    var buffer = ByteBuffer()
    let column = buffer.extend(by: 2)
    for (index, value) in [UInt64(0b101), 0b001, 0b110, 0b011].enumerated() {
      BitColumn.store(value, bits: 3, at: index, in: column)
    }
    #expect(Array(column) == [0b1000_1101, 0b0000_0111])
  }

  @Test func `a load never looks behind the column`() {
    // The byte behind the column would change the result.
    for bits in 1...57 {
      for count in 1...12 {
        let byteCount = BitColumn.byteCount(bits: bits, count: count)
        let bytes = [UInt8](repeating: 0, count: byteCount) + [0xFF]
        bytes.withUnsafeBytes { all in
          let column = UnsafeRawBufferPointer(rebasing: all[..<byteCount])
          #expect(BitColumn.load(bits: bits, at: count - 1, from: column) == 0)
        }
      }
    }
  }
}
