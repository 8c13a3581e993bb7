/// The payload of a row: its element type, then column by column and layer by layer the pool indices and the user
/// parts, then the optional columns. schema/format-1.md is the specification; this file is its only implementation.
/// Unpacking trusts nothing: lengths are checked before anything is read, indices after.

internal import CKernels
package import CacheTypes

/// Packs and unpacks the payloads of one row layout.
package struct RowCodec: Sendable {
  package let layout: RowLayout

  package init(layout: RowLayout) { self.layout = layout }

  // MARK: Packing

  /// Appends the payload of the positions `rows` of `entries`, with user parts held as `element`.
  package func pack(
    _ entries: borrowing Entries, _ rows: Range<Int>, as element: ElementType, into buffer: inout ByteBuffer
  ) {
    buffer.append(element.rawValue)
    for number in layout.shape.layers.indices {
      let shape = layout.shape.layers[number]
      packIndices(entries.layers[number].keyIndices, rows, bits: shape.key.indexBits, into: &buffer)
      if shape.storesValueIndices, let value = shape.value {
        packIndices(entries.layers[number].valueIndices, rows, bits: value.indexBits, into: &buffer)
      }
      let count = entries.count
      packUser(entries.layers[number].keyUser, width: shape.key.userWidth, count, rows, element, into: &buffer)
      if let value = shape.value {
        packUser(entries.layers[number].valueUser, width: value.userWidth, count, rows, element, into: &buffer)
      }
    }
    if layout.columns.contains(.items) { IntegerColumn.pack(entries.items!, rows, into: &buffer) }
    if layout.columns.contains(.timestamps) { IntegerColumn.pack(entries.timestamps!, rows, into: &buffer) }
  }

  @inline(__always)
  private func packIndices(_ column: [UInt32], _ rows: Range<Int>, bits: Int, into buffer: inout ByteBuffer) {
    let place = unsafe buffer.extend(by: BitColumn.byteCount(bits: bits, count: rows.count))
    var index = 0
    for row in rows {
      unsafe BitColumn.store(UInt64(column[row]), bits: bits, at: index, in: place)
      index += 1
    }
  }

  @inline(__always)
  private func packUser(
    _ column: [Float], width: Int, _ count: Int, _ rows: Range<Int>, _ element: ElementType,
    into buffer: inout ByteBuffer
  ) {
    for dimension in 0..<width {
      let base = dimension * count
      if element == .i8 {
        unsafe Quantiser.pack(column, base, rows, into: buffer.extend(by: Quantiser.headerByteCount + rows.count))
        continue
      }
      let place = unsafe buffer.extend(by: rows.count * element.byteCount)
      var offset = 0
      for row in rows {
        let number = column[base + row]
        switch element {
        case .f32: unsafe place.storeBytes(of: number.bitPattern.littleEndian, toByteOffset: offset, as: UInt32.self)
        case .bf16:
          unsafe place.storeBytes(
            of: HalfPrecision.bf16Bits(number).littleEndian, toByteOffset: offset, as: UInt16.self)
        case .f16, .i8:
          unsafe place.storeBytes(
            of: HalfPrecision.f16Bits(number).littleEndian, toByteOffset: offset, as: UInt16.self)
        }
        offset += element.byteCount
      }
    }
  }

  // MARK: Unpacking

  /// The element type that a payload says it holds, or `nil` if a row of this layout cannot hold it.
  package func element(of payload: UnsafeRawBufferPointer) -> ElementType? {
    guard let first = unsafe payload.first, let element = ElementType(rawValue: first) else { return nil }
    return element == layout.element || element == layout.element.arrival ? element : nil
  }

  /// Whether a payload is long enough for `count` positions: asked before anything of that size is allocated.
  func canHold(_ count: Int, in payload: UnsafeRawBufferPointer) -> Bool {
    guard let element = unsafe element(of: payload) else { return false }
    return layout.leastByteCount(count: count, as: element) <= payload.count
  }

  /// Decodes positions `range` of a row that holds `count`, into columns of `entries` from position `offset` on.
  ///
  /// - Parameter wanted: layers to decode; the columns of others stay untouched.
  /// - Throws: `StoreError.damaged` if the payload is not what `pack` writes for `count` positions; `place` says where.
  package func unpack(
    _ payload: UnsafeRawBufferPointer, count: Int, range: Range<Int>, wanted: Range<Int>, into entries: inout Entries,
    at offset: Int, place: @autoclosure () -> String
  ) throws(StoreError) {
    guard let element = unsafe element(of: payload) else { throw .damaged("\(place()): unknown element type") }
    var cursor = 1
    func take(_ byteCount: Int) throws(StoreError) -> UnsafeRawBufferPointer {
      guard byteCount <= payload.count - cursor else { throw .damaged("\(place()): the payload is too short") }
      defer { cursor += byteCount }
      return unsafe UnsafeRawBufferPointer(rebasing: payload[cursor..<cursor + byteCount])
    }
    let stride = entries.count
    for (number, shape) in layout.shape.layers.enumerated() {
      let isWanted = wanted.contains(number)
      let keyIndices = unsafe try take(BitColumn.byteCount(bits: shape.key.indexBits, count: count))
      if isWanted {
        let fits = unsafe Self.unpackIndices(
          keyIndices, shape.key, range, into: &entries.layers[number].keyIndices, at: offset)
        guard fits else { throw .damaged("\(place()): a key index is beyond the pool of layer \(number)") }
      }
      if shape.storesValueIndices, let value = shape.value {
        let valueIndices = unsafe try take(BitColumn.byteCount(bits: value.indexBits, count: count))
        if isWanted {
          let fits = unsafe Self.unpackIndices(
            valueIndices, value, range, into: &entries.layers[number].valueIndices, at: offset)
          guard fits else { throw .damaged("\(place()): a value index is beyond the pool of layer \(number)") }
        }
      }
      let columnByteCount = Quantiser.columnByteCount(element, count: count)
      let keyUser = unsafe try take(shape.key.userWidth * columnByteCount)
      if isWanted {
        unsafe Self.unpackUser(
          keyUser, shape.key.userWidth, element, count, range, into: &entries.layers[number].keyUser,
          at: offset, stride: stride)
      }
      if let value = shape.value {
        let valueUser = unsafe try take(value.userWidth * columnByteCount)
        if isWanted {
          unsafe Self.unpackUser(
            valueUser, value.userWidth, element, count, range, into: &entries.layers[number].valueUser,
            at: offset, stride: stride)
        }
      }
    }
    for column in [KeptColumns.items, .timestamps] where layout.columns.contains(column) {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: payload[cursor...])
      guard let byteCount = unsafe IntegerColumn.byteCount(at: rest, count: count) else {
        throw .damaged("\(place()): the payload is too short")
      }
      let bytes = unsafe try take(byteCount)
      if column == .items, entries.items != nil {
        unsafe IntegerColumn.unpack(bytes, range: range, into: &entries.items!, at: offset)
      } else if column == .timestamps, entries.timestamps != nil {
        unsafe IntegerColumn.unpack(bytes, range: range, into: &entries.timestamps!, at: offset)
      }
    }
    guard cursor == payload.count else { throw .damaged("\(place()): the payload is too long") }
  }

  /// False if an index is not below the pool's rows.
  private static func unpackIndices(
    _ bytes: UnsafeRawBufferPointer, _ part: PartShape, _ range: Range<Int>, into column: inout [UInt32], at offset: Int
  ) -> Bool {
    guard !range.isEmpty else { return true }
    let largest = unsafe column.withUnsafeMutableBufferPointer { column in
      let target = unsafe UnsafeMutableBufferPointer(rebasing: column[offset..<offset + range.count])
      // A column of no bits has no bytes either: every value is 0.
      guard part.indexBits > 0, let start = bytes.baseAddress else {
        unsafe target.update(repeating: 0)
        return UInt32(0)
      }
      return unsafe ckv_unpack_bits_u32(
        start.assumingMemoryBound(to: UInt8.self), bytes.count, UInt32(part.indexBits), range.lowerBound, range.count,
        target.baseAddress!)
    }
    return Int(largest) < part.poolRows
  }

  private static func unpackUser(
    _ bytes: UnsafeRawBufferPointer, _ width: Int, _ element: ElementType, _ count: Int, _ range: Range<Int>,
    into column: inout [Float], at offset: Int, stride: Int
  ) {
    let columnByteCount = Quantiser.columnByteCount(element, count: count)
    let active = unsafe ckv_kernels_active()
    unsafe column.withUnsafeMutableBufferPointer { column in
      for dimension in 0..<width {
        let start = dimension * stride + offset
        let target = unsafe UnsafeMutableBufferPointer(rebasing: column[start..<start + range.count])
        let source = unsafe UnsafeRawBufferPointer(
          rebasing: bytes[dimension * columnByteCount..<(dimension + 1) * columnByteCount])
        switch element {
        case .f32:
          for index in range {
            let bits = unsafe source.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
            unsafe target[index - range.lowerBound] = Float(bitPattern: UInt32(littleEndian: bits))
          }
        case .f16, .bf16:
          guard !range.isEmpty else { continue }
          let kernels = unsafe element == .f16 ? active.pointee.f16 : active.pointee.bf16
          unsafe kernels.widen_rows(
            source.baseAddress! + range.lowerBound * 2, range.count, nil, 1, range.count, target.baseAddress!,
            range.count)
        case .i8:
          unsafe Quantiser.unpack(source, range, into: target)
        }
      }
    }
  }
}
