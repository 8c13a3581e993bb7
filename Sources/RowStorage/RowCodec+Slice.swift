/// Cutting a packed row into shorter ones without decoding its numbers: an eight-bit row keeps its scales and offsets,
/// so that nothing is rounded twice.

internal import CKernels
internal import CacheTypes

extension RowCodec {
  /// Appends the payload of positions `range` of a row that holds `count`.
  ///
  /// - Precondition: `unpack` accepts the payload.
  package func slice(
    _ payload: UnsafeRawBufferPointer, count: Int, _ range: Range<Int>, into buffer: inout ByteBuffer
  ) {
    let element = unsafe element(of: payload)!
    buffer.append(element.rawValue)
    var cursor = 1
    func take(_ byteCount: Int) -> UnsafeRawBufferPointer {
      defer { cursor += byteCount }
      return unsafe UnsafeRawBufferPointer(rebasing: payload[cursor..<cursor + byteCount])
    }
    for shape in layout.shape.layers {
      let value = shape.value
      let bits = [shape.key.indexBits] + (shape.storesValueIndices ? [value!.indexBits] : [])
      for bits in bits {
        let column = unsafe take(BitColumn.byteCount(bits: bits, count: count))
        let target = unsafe buffer.extend(by: BitColumn.byteCount(bits: bits, count: range.count))
        for (place, position) in range.enumerated() {
          unsafe BitColumn.store(
            BitColumn.load(bits: bits, at: position, from: column), bits: bits, at: place, in: target)
        }
      }
      let headerByteCount = Quantiser.columnByteCount(element, count: 0)
      for _ in 0..<shape.key.userWidth + (value?.userWidth ?? 0) {
        let column = unsafe take(Quantiser.columnByteCount(element, count: count))
        unsafe buffer.append(UnsafeRawBufferPointer(rebasing: column[0..<headerByteCount]))
        let bytes =
          headerByteCount + range.lowerBound * element.byteCount..<headerByteCount + range.upperBound
          * element.byteCount
        unsafe buffer.append(UnsafeRawBufferPointer(rebasing: column[bytes]))
      }
    }
    for column in [KeptColumns.items, .timestamps] where layout.columns.contains(column) {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: payload[cursor...])
      let bytes = unsafe take(IntegerColumn.byteCount(at: rest, count: count)!)
      var numbers = [Int64](repeating: 0, count: range.count)
      unsafe IntegerColumn.unpack(bytes, range: range, into: &numbers, at: 0)
      IntegerColumn.pack(numbers, 0..<range.count, into: &buffer)
    }
  }
}
