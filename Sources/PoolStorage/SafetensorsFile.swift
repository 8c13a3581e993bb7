/// One safetensors file, mapped and parsed. It owns the mapping, which its tensors keep alive, and relies on
/// SafetensorsHeader for every range it reads; it never reads a byte that the header did not place. The content of a
/// file that somebody else changes while it is mapped changes too: a blob is written once for that reason. One that is
/// cut short is found out: here when numbers are copied, by `checkWhole` when they are read where they lie.

package import CacheTypes

/// A read-only safetensors file. Any thread may use it at any time.
package final class SafetensorsFile: Sendable {
  package let path: String
  /// What the file is for: which error its faults are.
  package let role: FileRole
  package let metadata: [String: String]
  /// In the order of their bytes in the file.
  package let tensors: [TensorInfo]
  let memory: TensorMemory
  /// Tensors by the bytes of their names: names are compared as bytes, never as text.
  private let places: [[UInt8]: Int]

  /// Maps and checks a file.
  ///
  /// - Parameters:
  ///   - followsLinks: whether the path's last component may be a link.
  ///   - role: which error a fault in the file becomes.
  /// - Throws: `io`, or the role's error with the file, the place, what was seen and what was expected.
  /// - Complexity: O(header); the tensors' bytes are not touched.
  package convenience init(path: String, followsLinks: Bool, role: FileRole = .input) throws(StoreError) {
    let file = try OpenFile(path, .reading(followsLinks: followsLinks))
    try self.init(memory: file.map(), path: path, role: role)
  }

  /// Checks a file that is mapped already.
  init(memory: TensorMemory, path: String, role: FileRole) throws(StoreError) {
    self.path = path
    self.role = role
    self.memory = memory
    let header: SafetensorsHeader
    do throws(HeaderFault) {
      header = try Self.header(memory)
    } catch {
      throw role.failure(path, memory.isWhole ? error.reason : Self.cutReason)
    }
    guard memory.isWhole else { throw role.failure(path, Self.cutReason) }
    metadata = header.metadata
    tensors = header.tensors
    var places: [[UInt8]: Int] = [:]
    places.reserveCapacity(tensors.count)
    for (place, tensor) in tensors.enumerated() { places[Array(tensor.name.utf8)] = place }
    self.places = places
  }

  /// The tensor of that name, byte for byte.
  package func info(_ name: String) -> TensorInfo? { places[Array(name.utf8)].map { tensors[$0] } }

  /// A tensor of f32, f16 or bf16 over the mapping; `nil` if there is none of that name.
  package func tensor(_ name: String) throws(StoreError) -> Tensor? {
    guard let info = info(name) else { return nil }
    guard let element = info.dtype.element else { throw wrongType(info, expected: "F32, F16 or BF16") }
    return Tensor(memory: memory, byteOffset: info.byteRange.lowerBound, element: element, shape: info.shape)
  }

  /// The numbers of an F32, F16 or BF16 tensor, widened; `nil` if there is none of that name.
  package func floats(_ name: String) throws(StoreError) -> [Float]? {
    let numbers = try tensor(name)?.floats()
    try checkWhole()
    return numbers
  }

  /// The numbers of a tensor of any integer type; `nil` if there is none of that name.
  ///
  /// - Throws: the role's error for another type, or for a U64 beyond `Int64.max`.
  package func integers(_ name: String) throws(StoreError) -> [Int64]? {
    guard let info = info(name) else { return nil }
    switch info.dtype {
    case .u8: return try widened(info, UInt8.self)
    case .i8: return try widened(info, Int8.self)
    case .u16: return try widened(info, UInt16.self)
    case .i16: return try widened(info, Int16.self)
    case .u32: return try widened(info, UInt32.self)
    case .i32: return try widened(info, Int32.self)
    case .i64: return try widened(info, Int64.self)
    case .u64:
      let numbers = try widened(info, Int64.self)
      if let index = numbers.firstIndex(where: { $0 < 0 }) {
        throw failure(
          "tensor \(name.debugDescription) at index \(index) is \(UInt64(bitPattern: numbers[index])), "
            + "the largest integer is \(Int64.max)")
      }
      return numbers
    case .bool, .f8e5m2, .f8e4m3, .f8e8m0, .f8e5m2fnuz, .f8e4m3fnuz, .f16, .bf16, .f32, .f64, .c64:
      throw wrongType(info, expected: "an integer type")
    }
  }

  /// The bytes of a tensor of any type; `nil` if there is none of that name.
  package func bytes(_ name: String) throws(StoreError) -> [UInt8]? {
    guard let info = info(name) else { return nil }
    let bytes = unsafe memory.withUnsafeBytes { unsafe Array($0[info.byteRange]) }
    try checkWhole()
    return bytes
  }

  /// To be called when tensors' bytes were read where they lie, before anything that came of them is used.
  ///
  /// - Throws: the role's error if the file was cut short since it was mapped, or a page of it could not be read.
  /// - Complexity: two loads.
  package func checkWhole() throws(StoreError) {
    if !memory.isWhole { throw failure(Self.cutReason) }
  }

  static let cutReason = "the file was truncated or became unreadable while it was open"

  /// The whole file.
  package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe memory.withUnsafeBytes(body)
  }

  /// The role's error for a fault that a caller found in the file.
  package func failure(_ reason: String) -> StoreError { role.failure(path, reason) }

  /// Bytes of the length and the header, or the reason why there can be no header.
  static func headerEnd(_ memory: TensorMemory) throws(HeaderFault) -> Int {
    let length = unsafe memory.withUnsafeBytes { unsafe Array($0.prefix(SafetensorsHeader.lengthByteCount)) }
    return try SafetensorsHeader.lengthByteCount
      + SafetensorsHeader.headerByteCount(length, fileByteCount: memory.byteCount)
  }

  private static func header(_ memory: TensorMemory) throws(HeaderFault) -> SafetensorsHeader {
    let end = try headerEnd(memory)
    let bytes = unsafe memory.withUnsafeBytes { unsafe Array($0[SafetensorsHeader.lengthByteCount..<end]) }
    return try SafetensorsHeader(bytes, fileByteCount: memory.byteCount)
  }

  private func widened<Number: FixedWidthInteger & BitwiseCopyable>(
    _ info: TensorInfo, _ type: Number.Type
  ) throws(StoreError) -> [Int64] {
    let numbers = unsafe memory.withUnsafeBytes { bytes in
      (0..<info.count).map { index in
        let offset = info.byteRange.lowerBound + index * info.dtype.byteCount
        return unsafe Int64(
          truncatingIfNeeded: Number(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type)))
      }
    }
    try checkWhole()
    return numbers
  }

  private func wrongType(_ info: TensorInfo, expected: String) -> StoreError {
    failure("tensor \(info.name.debugDescription) is \(info.dtype.name), expected \(expected)")
  }
}
