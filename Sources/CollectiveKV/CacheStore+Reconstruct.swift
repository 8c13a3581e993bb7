/// Reconstruction into memory that the caller owns, such as a tensor on its way to another device. Everything a caller
/// can get wrong about that memory is checked here, before a row is read into it.

internal import KVRuntime
internal import RowStorage

/// Memory that full keys or values are written to, row after row. It stays the caller's; it is used during the call
/// alone.
@unsafe
public struct RowDestination {
  public var bytes: UnsafeMutableRawBufferPointer
  /// Bytes from one row's start to the next one's; `nil`: rows follow each other without a gap.
  public var rowByteCount: Int?
  /// f32, f16 or bf16.
  public var element: ElementType

  public init(_ bytes: UnsafeMutableRawBufferPointer, rowByteCount: Int? = nil, element: ElementType) {
    unsafe self.bytes = bytes
    unsafe self.rowByteCount = rowByteCount
    unsafe self.element = element
  }
}

extension CacheStore {
  /// Writes a user's full keys and values in one layer into the caller's memory: row i of each is position
  /// `lowerBound + i` of what is returned. Numbers are rounded to the wanted element type, to nearest, ties to even.
  ///
  /// - Parameters:
  ///   - positions: which ones, cut to what there is; `nil`: all.
  ///   - keys: room for `n x d_k` numbers; `nil`: no keys are wanted.
  ///   - values: room for `n x d_v` numbers; `nil`: no values are wanted.
  /// - Returns: the positions that were written.
  /// - Throws: `StoreError.unknownUser`, `.staleUser`, `.damaged`, `.invalidInput` for a layer that does not exist or
  ///   has no values, an element type other than f32, f16 or bf16, rows that overlap, or memory too small for the
  ///   rows; nothing was written then. If the pool's file was cut short during the call, `.damaged`, and what was
  ///   written means nothing.
  /// - Complexity: O(n (d_k + d_v)).
  @discardableResult
  public func reconstruct(
    user: UserID, layer: Int, positions: Range<Int>? = nil, keys: RowDestination?, values: RowDestination?
  ) throws(StoreError) -> Range<Int> {
    let (shape, tensors, _) = try self.layer(layer)
    guard unsafe values == nil || shape.value != nil else {
      throw .invalidInput("layer \(layer) has no values: it is for search only")
    }
    return try rows.withHistory(
      of: user, positions.map { .range($0) } ?? .all, layers: layer..<layer + 1
    ) { (found) throws(StoreError) in
      let positions = (positions ?? 0..<found.length).clamped(to: 0..<found.length)
      let first = found.positions.lowerBound
      let keyMemory = try unsafe Self.memory(keys, "keys", positions.count, width: shape.key.width)
      let valueMemory = try unsafe Self.memory(values, "values", positions.count, width: shape.value?.width ?? 0)
      unsafe Reconstruction.write(
        found.entries.layers[layer], count: found.positions.count,
        range: positions.lowerBound - first..<positions.upperBound - first, shape: shape, tensors: tensors,
        keys: keyMemory, values: valueMemory)
      try pool.checkWhole()
      return positions
    }
  }

  /// The memory, if `count` rows of `width` numbers fit into it.
  static func memory(
    _ destination: RowDestination?, _ name: StaticString, _ count: Int, width: Int
  ) throws(StoreError) -> RowMemory? {
    guard let destination = unsafe destination else { return nil }
    let element = unsafe destination.element
    guard element != .i8 else { throw .invalidInput("\(name) are written as f32, f16 or bf16, not \(element.name)") }
    let needed = width * element.byteCount
    let rowByteCount = unsafe destination.rowByteCount ?? needed
    guard rowByteCount >= needed else {
      throw .invalidInput("\(name): rows of \(needed) bytes do not fit \(rowByteCount) bytes apart")
    }
    guard count > 0, needed > 0, let start = unsafe destination.bytes.baseAddress else {
      guard count == 0 || needed == 0 else { throw .invalidInput("\(name): no memory for \(count) rows") }
      return nil
    }
    let (gaps, overflow) = rowByteCount.multipliedReportingOverflow(by: count - 1)
    let room = unsafe destination.bytes.count
    guard !overflow, room >= needed, gaps <= room - needed else {
      throw .invalidInput("\(name): \(room) bytes are too few for \(count) rows of \(needed), \(rowByteCount) apart")
    }
    return unsafe RowMemory(start, rowByteCount: rowByteCount, element: element)
  }
}
