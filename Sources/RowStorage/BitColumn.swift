/// Columns of small unsigned integers, each in the same number of bits: value i occupies bits [i w, (i + 1) w) of the
/// column, lowest bit first, and the column ends at a byte. Zero bits are allowed: all values are 0.

/// Packs and unpacks fixed-width integers of 0 to 57 bits, and 64.
package enum BitColumn {
  @inline(__always)
  package static func byteCount(bits: Int, count: Int) -> Int { (bits * count + 7) / 8 }

  /// ORs `value` into place; the column must be zero there.
  @inline(__always)
  package static func store(_ value: UInt64, bits: Int, at index: Int, in column: UnsafeMutableRawBufferPointer) {
    var position = bits * index
    var rest = value
    var left = bits
    while left > 0 {
      let byte = position >> 3
      let shift = position & 7
      unsafe column[byte] |= UInt8(truncatingIfNeeded: rest << UInt64(shift))
      let taken = min(8 - shift, left)
      rest >>= UInt64(taken)
      position += taken
      left -= taken
    }
  }

  @inline(__always)
  package static func load(bits: Int, at index: Int, from column: UnsafeRawBufferPointer) -> UInt64 {
    let position = bits * index
    let byte = position >> 3
    let mask: UInt64 = bits == 64 ? .max : (1 << UInt64(bits)) - 1
    if bits <= 57, byte + 8 <= column.count {
      let word = UInt64(littleEndian: unsafe column.loadUnaligned(fromByteOffset: byte, as: UInt64.self))
      return word >> UInt64(position & 7) & mask
    }
    var value: UInt64 = 0
    var filled = 0
    var place = position
    while filled < bits {
      let taken = min(8 - (place & 7), bits - filled)
      let part = UInt64(unsafe column[place >> 3]) >> UInt64(place & 7) & ((1 << UInt64(taken)) - 1)
      value |= part << UInt64(filled)
      filled += taken
      place += taken
    }
    return value
  }
}

/// Columns of 64-bit integers that lie close together: the smallest value (8 bytes), the bits of the largest difference
/// from it (1 byte), then the differences as a bit column.
package enum IntegerColumn {
  package static let headerByteCount = 9

  package static func bits(ofRange range: UInt64) -> Int { UInt64.bitWidth - range.leadingZeroBitCount }

  package static func pack(_ column: [Int64], _ rows: Range<Int>, into buffer: inout ByteBuffer) {
    var low = Int64.max
    var high = Int64.min
    for row in rows {
      low = min(low, column[row])
      high = max(high, column[row])
    }
    if rows.isEmpty { (low, high) = (0, 0) }
    let bits = bits(ofRange: UInt64(bitPattern: high &- low))
    buffer.append(low)
    buffer.append(UInt8(bits))
    let place = unsafe buffer.extend(by: BitColumn.byteCount(bits: bits, count: rows.count))
    var index = 0
    for row in rows {
      unsafe BitColumn.store(UInt64(bitPattern: column[row] &- low), bits: bits, at: index, in: place)
      index += 1
    }
  }

  /// Bytes of the column that starts at `bytes`, or `nil` if it does not fit there.
  package static func byteCount(at bytes: UnsafeRawBufferPointer, count: Int) -> Int? {
    guard bytes.count >= headerByteCount else { return nil }
    let bits = Int(unsafe bytes[8])
    guard bits <= 64 else { return nil }
    let total = headerByteCount + BitColumn.byteCount(bits: bits, count: count)
    return total <= bytes.count ? total : nil
  }

  /// - Precondition: `byteCount(at:count:)` accepted the column.
  package static func unpack(
    _ bytes: UnsafeRawBufferPointer, range: Range<Int>, into column: inout [Int64], at offset: Int
  ) {
    let low = Int64(littleEndian: unsafe bytes.loadUnaligned(as: Int64.self))
    let bits = Int(unsafe bytes[8])
    let packed = unsafe UnsafeRawBufferPointer(rebasing: bytes[headerByteCount...])
    for index in range {
      column[offset + index - range.lowerBound] =
        low &+ Int64(bitPattern: unsafe BitColumn.load(bits: bits, at: index, from: packed))
    }
  }
}
