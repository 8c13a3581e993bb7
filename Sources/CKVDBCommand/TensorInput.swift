/// A safetensors file of rows that belong to users: which tensors it holds, whether they fit together, and the rows as
/// numbers. Everything about shapes, users and finite values is checked when the file is opened; reading rows after
/// that cannot fail.

package import CacheTypes
package import PoolStorage

/// The owner of every row: `user` [T], or `user.bytes` [B] with `user.ends` [T].
package struct UserColumn: Sendable {
  private enum Storage {
    case integers([Int64])
    case bytes([UInt8], ends: [Int64])
  }
  private let storage: Storage

  package init(_ file: SafetensorsFile) throws(StoreError) {
    if file.info("user") != nil {
      guard file.info("user.bytes") == nil, file.info("user.ends") == nil else {
        throw file.failure("both \"user\" and \"user.bytes\" are there, expected one of them")
      }
      storage = .integers(try file.column("user"))
      return
    }
    guard let bytes = file.info("user.bytes"), file.info("user.ends") != nil else {
      throw file.failure("no tensor \"user\", nor \"user.bytes\" with \"user.ends\"")
    }
    guard bytes.dtype == .u8, bytes.shape.count == 1 else {
      throw file.failure("tensor \"user.bytes\" is \(bytes.dtype.name) \(bytes.shape), expected U8 [B]")
    }
    let ends = try file.column("user.ends")
    var end: Int64 = 0
    for (row, next) in ends.enumerated() {
      let (length, overflows) = next.subtractingReportingOverflow(end)
      guard !overflows, length >= 0, next <= Int64(bytes.count) else {
        throw file.failure(
          "\"user.ends\" at row \(row) is \(next), expected \(end) to \(bytes.count), the size of \"user.bytes\"")
      }
      guard length <= Int64(UserID.byteCountLimit) else {
        throw file.failure("the user of row \(row) has \(length) bytes, the limit is \(UserID.byteCountLimit)")
      }
      end = next
    }
    guard end == Int64(bytes.count) else {
      throw file.failure("\"user.ends\" ends at \(end), \"user.bytes\" has \(bytes.count) bytes")
    }
    storage = .bytes(try file.bytes("user.bytes") ?? [], ends: ends)
  }

  package var count: Int {
    switch storage {
    case .integers(let users): users.count
    case .bytes(_, let ends): ends.count
    }
  }

  package subscript(row: Int) -> UserID {
    switch storage {
    case .integers(let users): .integer(users[row])
    case .bytes(let bytes, let ends): .bytes(Array(bytes[(row == 0 ? 0 : Int(ends[row - 1]))..<Int(ends[row])]))
    }
  }
}

extension SafetensorsFile {
  /// An integer tensor of one dimension, which must be there.
  func column(_ name: String) throws(StoreError) -> [Int64] {
    guard let info = info(name), let numbers = try integers(name) else {
      throw failure("no tensor \(name.debugDescription)")
    }
    guard info.shape.count == 1 else {
      throw failure("tensor \(name.debugDescription) has shape \(info.shape), expected one dimension")
    }
    return numbers
  }

  /// An integer tensor of so many rows, if it is there.
  func column(_ name: String, rows: Int) throws(StoreError) -> [Int64]? {
    guard info(name) != nil else { return nil }
    let numbers = try column(name)
    guard numbers.count == rows else {
      throw failure("tensor \(name.debugDescription) has \(numbers.count) rows, expected \(rows)")
    }
    return numbers
  }

  /// A floating-point tensor of exactly this shape, all numbers finite, if it is there.
  func rows(_ name: String, shape: [Int]) throws(StoreError) -> TensorRows? {
    guard let tensor = try tensor(name) else { return nil }
    guard tensor.shape == shape else {
      throw failure("tensor \(name.debugDescription) has shape \(tensor.shape), expected \(shape)")
    }
    let rows = TensorRows(tensor)
    if let row = rows.firstRowNotFinite() {
      throw failure("tensor \(name.debugDescription) at row \(row) holds a number that is not finite")
    }
    return rows
  }
}

/// The rows of a tensor's first dimension, as 32-bit floats.
package struct TensorRows: Sendable {
  private let tensor: Tensor
  package let rowCount: Int
  /// Numbers of one row.
  package let width: Int

  package init(_ tensor: Tensor) {
    self.tensor = tensor
    rowCount = tensor.shape.first ?? 0
    width = tensor.shape.dropFirst().reduce(1, *)
  }

  /// Appends rows one after the other.
  ///
  /// - Precondition: every row is below `rowCount`.
  package func append(_ rows: some Sequence<Int>, to numbers: inout [Float]) {
    let (element, width) = (tensor.element, width)
    unsafe tensor.withUnsafeBytes { bytes in
      for row in rows {
        precondition(row >= 0 && row < rowCount)
        for place in row * width..<(row + 1) * width { numbers.append(unsafe Self.number(bytes, place, element)) }
      }
    }
  }

  package func firstRowNotFinite() -> Int? {
    let (element, count) = (tensor.element, rowCount * width)
    return unsafe tensor.withUnsafeBytes { bytes in
      for place in 0..<count where !(unsafe Self.number(bytes, place, element).isFinite) { return place / width }
      return nil
    }
  }

  @inline(__always)
  private static func number(_ bytes: UnsafeRawBufferPointer, _ place: Int, _ element: ElementType) -> Float {
    switch element {
    case .f32:
      let bits = unsafe UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: place * 4, as: UInt32.self))
      return Float(bitPattern: bits)
    case .f16:
      let bits = unsafe UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: place * 2, as: UInt16.self))
      return HalfPrecision.float(f16Bits: bits)
    case .bf16:
      let bits = unsafe UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: place * 2, as: UInt16.self))
      return HalfPrecision.float(bf16Bits: bits)
    case .i8: preconditionFailure("tensors are f32, f16 or bf16")
    }
  }
}
