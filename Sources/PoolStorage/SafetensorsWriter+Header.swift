/// The header that a plan makes: what SafetensorsHeader reads back as the same tensors in the same order.

internal import CacheTypes

extension SafetensorsWriter {
  /// Bytes of every tensor, once their names and shapes are known to be writable.
  static func byteCounts(_ tensors: [TensorPlan]) throws(StoreError) -> [Int] {
    var names: Set<[UInt8]> = [Array("__metadata__".utf8)]
    var total = 0
    var counts: [Int] = []
    counts.reserveCapacity(tensors.count)
    for tensor in tensors {
      let label = tensor.name.debugDescription
      guard names.insert(Array(tensor.name.utf8)).inserted else {
        throw .invalidInput("two tensors of the name \(label)")
      }
      guard tensor.shape.count <= HeaderParser.rankLimit else {
        throw .invalidInput(
          "tensor \(label) has \(tensor.shape.count) dimensions, the limit is \(HeaderParser.rankLimit)")
      }
      guard let byteCount = tensor.byteCount else {
        throw .invalidInput("tensor \(label): the size of shape \(tensor.shape) does not fit 63 bits")
      }
      let (sum, overflows) = total.addingReportingOverflow(byteCount)
      guard !overflows else { throw .invalidInput("tensor \(label) makes the file larger than 63 bits can say") }
      total = sum
      counts.append(byteCount)
    }
    return counts
  }

  /// The length and the header, filled up with spaces so that the first tensor starts on a multiple of `alignment`.
  static func header(
    _ tensors: [TensorPlan], _ byteCounts: [Int], _ metadata: [String: String], alignment: Int
  ) throws(StoreError) -> [UInt8] {
    var json: [UInt8] = []
    append("{", to: &json)
    if !metadata.isEmpty {
      append("\"__metadata__\":{", to: &json)
      // Sorted, so that the same content is the same bytes.
      let pairs = metadata.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      for (number, (key, value)) in pairs.enumerated() {
        if number > 0 { append(",", to: &json) }
        appendString(key, to: &json)
        append(":", to: &json)
        appendString(value, to: &json)
      }
      append("}", to: &json)
    }
    var offset = 0
    for (number, tensor) in tensors.enumerated() {
      if number > 0 || !metadata.isEmpty { append(",", to: &json) }
      let end = offset + byteCounts[number]
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      appendString(tensor.name, to: &json)
      append(
        ":{\"dtype\":\"\(tensor.dtype.name)\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}", to: &json)
      offset = end
    }
    append("}", to: &json)
    let used = SafetensorsHeader.lengthByteCount + json.count
    let padded = (used + alignment - 1) / alignment * alignment
    json.append(contentsOf: repeatElement(UInt8(ascii: " "), count: padded - used))
    guard json.count <= SafetensorsHeader.byteCountLimit else {
      throw .invalidInput(
        "\(tensors.count) tensors need a header of \(json.count) bytes, at most \(SafetensorsHeader.byteCountLimit)"
      )
    }
    let length = UInt64(json.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + json
  }

  private static func append(_ text: String, to json: inout [UInt8]) { json.append(contentsOf: text.utf8) }

  private static func appendString(_ text: String, to json: inout [UInt8]) {
    json.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        json.append(UInt8(ascii: "\\"))
        json.append(byte)
      case 0..<0x20:
        append("\\u00", to: &json)
        append(Hex.encode(CollectionOfOne(byte)), to: &json)
      default:
        json.append(byte)
      }
    }
    json.append(UInt8(ascii: "\""))
  }
}
