/// A checked safetensors header: every dtype known, every range consistent with its shape, the tensors side by side
/// from the end of the header to the end of the file. It checks the numbers that HeaderParser read; nothing that has
/// passed here needs a bounds or overflow check again.

/// What a file holds and where.
struct SafetensorsHeader {
  /// In the order of their bytes in the file.
  let tensors: [TensorInfo]
  let metadata: [String: String]

  /// Bytes of the length before the header.
  static let lengthByteCount = 8
  /// The format's own limit for a header, in bytes.
  static let byteCountLimit = 100_000_000

  /// Reads the header's length and checks it against the file's length and the limit, before anything is allocated.
  static func headerByteCount(_ lengthBytes: [UInt8], fileByteCount: Int) throws(HeaderFault) -> Int {
    guard lengthBytes.count == lengthByteCount, fileByteCount >= lengthByteCount else {
      throw HeaderFault(reason: "the file has \(fileByteCount) bytes, expected at least \(lengthByteCount)")
    }
    let length = lengthBytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard length <= UInt64(byteCountLimit) else {
      throw HeaderFault(reason: "byte 0: a header of \(length) bytes, the limit is \(byteCountLimit)")
    }
    guard Int(length) <= fileByteCount - lengthByteCount else {
      throw HeaderFault(
        reason: "byte 0: a header of \(length) bytes, but \(fileByteCount - lengthByteCount) bytes follow")
    }
    guard length > 0 else { throw HeaderFault(reason: "byte 0: a header of 0 bytes, expected at least {}") }
    return Int(length)
  }

  /// - Parameters:
  ///   - bytes: the header without its length.
  ///   - fileByteCount: at least the header and its length.
  init(_ bytes: [UInt8], fileByteCount: Int) throws(HeaderFault) {
    var parser = HeaderParser(bytes)
    try parser.parse()
    metadata = parser.metadata
    let dataStart = Self.lengthByteCount + bytes.count
    var checked: [TensorInfo] = []
    checked.reserveCapacity(parser.entries.count)
    for entry in parser.entries {
      checked.append(try Self.check(entry, dataStart: dataStart, dataByteCount: fileByteCount - dataStart))
    }
    // A tensor without bytes lies between two others, so it comes before the one that starts where it ends.
    checked.sort {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound) < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
    }
    tensors = checked
    try Self.checkCover(checked, dataStart..<fileByteCount)
  }

  private static func check(
    _ entry: UncheckedEntry, dataStart: Int, dataByteCount: Int
  ) throws(HeaderFault) -> TensorInfo {
    let label = entry.name.debugDescription
    guard let dtype = TensorDType(rawValue: entry.dtype) else {
      throw HeaderFault(reason: "tensor \(label) has an unknown dtype \(entry.dtype.debugDescription)")
    }
    guard let byteCount = checkedByteCount(entry.shape, dtype) else {
      throw HeaderFault(reason: "tensor \(label): the size of shape \(entry.shape) does not fit 63 bits")
    }
    guard entry.begin <= entry.end else {
      throw HeaderFault(reason: "tensor \(label) begins at \(entry.begin) and ends at \(entry.end)")
    }
    guard entry.end <= dataByteCount else {
      throw HeaderFault(
        reason: "tensor \(label) ends at data byte \(entry.end), the file has \(dataByteCount) data bytes")
    }
    guard entry.end - entry.begin == byteCount else {
      throw HeaderFault(
        reason: "tensor \(label) has \(entry.end - entry.begin) bytes, \(dtype.name) \(entry.shape) needs \(byteCount)")
    }
    return TensorInfo(
      name: entry.name, dtype: dtype, shape: entry.shape,
      byteRange: dataStart + entry.begin..<dataStart + entry.end)
  }

  private static func checkCover(_ tensors: [TensorInfo], _ data: Range<Int>) throws(HeaderFault) {
    var end = data.lowerBound
    var previous = "the header"
    for tensor in tensors {
      let label = tensor.name.debugDescription
      guard tensor.byteRange.lowerBound == end else {
        let relation = tensor.byteRange.lowerBound > end ? "leaves a gap behind" : "overlaps"
        throw HeaderFault(
          reason: "tensor \(label) at byte \(tensor.byteRange.lowerBound) \(relation) \(previous), which ends at \(end)"
        )
      }
      end = tensor.byteRange.upperBound
      previous = label
    }
    guard end == data.upperBound else {
      throw HeaderFault(reason: "byte \(end): \(data.upperBound - end) bytes behind the last tensor")
    }
  }
}
