/// The JSON of a safetensors header, as far as the format needs it: one object of objects, strings and arrays of
/// non-negative integers. It accepts nothing else, recurses nowhere, and says at which byte of the file it stopped.
/// Whether the numbers make sense is SafetensorsHeader's business.

/// Why a header is refused.
struct HeaderFault: Error {
  let reason: String
}

/// An entry as the header states it; nothing about it has been checked.
struct UncheckedEntry {
  var name: String
  var dtype: String
  var shape: [Int]
  var begin: Int
  var end: Int
}

/// Reads one header. Used once, by one thread.
struct HeaderParser {
  private let bytes: [UInt8]
  private var index = 0
  private(set) var metadata: [String: String] = [:]
  private(set) var entries: [UncheckedEntry] = []
  private var names: Set<[UInt8]> = []

  /// Dimensions that a shape may have: what NumPy can read.
  static let rankLimit = 64
  /// Bytes of the header length that stands before the header: positions in messages count from the file's start.
  private static let lengthByteCount = 8

  /// - Parameter bytes: the header without its length.
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Reads the whole header, up to the padding at its end.
  mutating func parse() throws(HeaderFault) {
    // The format wants `{` as the very first byte.
    try expect("{", skippingSpace: false)
    skipSpace()
    if peek() == UInt8(ascii: "}") {
      index += 1
    } else {
      repeat {
        try parseMember()
      } while try separator(or: "}")
    }
    while let byte = peek() {
      guard byte == UInt8(ascii: " ") else { throw fault("only spaces behind the header's closing brace") }
      index += 1
    }
  }

  // MARK: Members

  private mutating func parseMember() throws(HeaderFault) {
    skipSpace()
    let start = index
    let name = try string()
    guard names.insert(Array(name.utf8)).inserted else {
      throw HeaderFault(reason: "byte \(place(start)): the name \(name.debugDescription) appears twice")
    }
    try expect(":")
    if name == "__metadata__" {
      try parseMetadata()
    } else {
      entries.append(try entry(name))
    }
  }

  private mutating func parseMetadata() throws(HeaderFault) {
    try expect("{")
    skipSpace()
    if peek() == UInt8(ascii: "}") {
      index += 1
      return
    }
    repeat {
      skipSpace()
      let start = index
      let key = try string()
      try expect(":")
      skipSpace()
      let value = try string()
      // Two keys that are the same text in other bytes count as the same: a dictionary could not hold both.
      guard metadata.updateValue(value, forKey: key) == nil else {
        throw HeaderFault(reason: "byte \(place(start)): the metadata key \(key.debugDescription) appears twice")
      }
    } while try separator(or: "}")
  }

  private mutating func entry(_ name: String) throws(HeaderFault) -> UncheckedEntry {
    try expect("{")
    var dtype: String?
    var shape: [Int]?
    var offsets: [Int]?
    let label = name.debugDescription
    repeat {
      skipSpace()
      let start = index
      let key = try string()
      try expect(":")
      skipSpace()
      var isRepeated = false
      switch key {
      case "dtype":
        isRepeated = dtype != nil
        dtype = try string()
      case "shape":
        isRepeated = shape != nil
        shape = try integers(limit: Self.rankLimit, of: "dimensions", name: label)
      case "data_offsets":
        isRepeated = offsets != nil
        offsets = try integers(limit: 2, of: "offsets", name: label)
      default:
        throw HeaderFault(
          reason: "byte \(place(start)): tensor \(label) has an unknown field \(key.debugDescription), "
            + "expected dtype, shape or data_offsets")
      }
      if isRepeated {
        throw HeaderFault(reason: "byte \(place(start)): tensor \(label) states \(key) twice")
      }
    } while try separator(or: "}")
    guard let dtype, let shape, let offsets else {
      let missing = dtype == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"
      throw HeaderFault(reason: "tensor \(label) has no \(missing)")
    }
    guard offsets.count == 2 else {
      throw HeaderFault(reason: "tensor \(label) has \(offsets.count) data_offsets, expected 2")
    }
    return UncheckedEntry(name: name, dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1])
  }

  private mutating func integers(limit: Int, of what: String, name: String) throws(HeaderFault) -> [Int] {
    try expect("[")
    skipSpace()
    var numbers: [Int] = []
    if peek() == UInt8(ascii: "]") {
      index += 1
      return numbers
    }
    repeat {
      skipSpace()
      guard numbers.count < limit else { throw fault("at most \(limit) \(what) for tensor \(name)") }
      numbers.append(try integer())
    } while try separator(or: "]")
    return numbers
  }

  // MARK: Tokens

  /// Takes a comma and returns true, or takes `close` and returns false.
  private mutating func separator(or close: Unicode.Scalar) throws(HeaderFault) -> Bool {
    skipSpace()
    switch peek() {
    case UInt8(ascii: ","):
      index += 1
      return true
    case UInt8(ascii: close):
      index += 1
      return false
    default:
      throw fault("',' or '\(close)'")
    }
  }

  private mutating func expect(_ wanted: Unicode.Scalar, skippingSpace: Bool = true) throws(HeaderFault) {
    if skippingSpace { skipSpace() }
    guard peek() == UInt8(ascii: wanted) else { throw fault("'\(wanted)'") }
    index += 1
  }

  /// Digits without a sign, a fraction, an exponent or a leading zero.
  private mutating func integer() throws(HeaderFault) -> Int {
    let start = index
    var number = 0
    while let byte = peek(), byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
      let (tenfold, overflowsTenfold) = number.multipliedReportingOverflow(by: 10)
      let (next, overflows) = tenfold.addingReportingOverflow(Int(byte - UInt8(ascii: "0")))
      guard !overflowsTenfold, !overflows else {
        throw HeaderFault(reason: "byte \(place(start)): the number does not fit 63 bits")
      }
      number = next
      index += 1
    }
    guard index > start else { throw fault("a non-negative integer") }
    guard index == start + 1 || bytes[start] != UInt8(ascii: "0") else {
      throw HeaderFault(reason: "byte \(place(start)): a number with a leading zero")
    }
    return number
  }

  private mutating func string() throws(HeaderFault) -> String {
    guard peek() == UInt8(ascii: "\"") else { throw fault("a string") }
    let start = index
    index += 1
    var text: [UInt8] = []
    while let byte = peek() {
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else {
          throw HeaderFault(reason: "byte \(place(start)): a string that is not UTF-8")
        }
        return string
      case UInt8(ascii: "\\"):
        try escape(into: &text)
      case 0..<0x20:
        index -= 1
        throw fault("no control character inside a string")
      default:
        text.append(byte)
      }
    }
    throw HeaderFault(reason: "byte \(place(start)): a string without an end")
  }

  private mutating func escape(into text: inout [UInt8]) throws(HeaderFault) {
    guard let byte = peek() else { throw fault("an escape") }
    let plain: Unicode.Scalar
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): plain = Unicode.Scalar(byte)
    case UInt8(ascii: "b"): plain = "\u{8}"
    case UInt8(ascii: "f"): plain = "\u{C}"
    case UInt8(ascii: "n"): plain = "\n"
    case UInt8(ascii: "r"): plain = "\r"
    case UInt8(ascii: "t"): plain = "\t"
    case UInt8(ascii: "u"):
      index += 1
      text.append(contentsOf: String(Character(try scalar())).utf8)
      return
    default: throw fault("an escape of JSON")
    }
    index += 1
    text.append(contentsOf: String(Character(plain)).utf8)
  }

  /// The four digits of `\u`, and of the second half of a surrogate pair.
  private mutating func scalar() throws(HeaderFault) -> Unicode.Scalar {
    let start = index
    let first = try fourDigits()
    if let scalar = Unicode.Scalar(first) { return scalar }
    guard first < 0xDC00, peek() == UInt8(ascii: "\\") else {
      throw HeaderFault(reason: "byte \(place(start)): half a surrogate pair")
    }
    index += 1
    try expect("u", skippingSpace: false)
    let second = try fourDigits()
    guard (0xDC00..<0xE000).contains(second),
      let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
    else { throw HeaderFault(reason: "byte \(place(start)): half a surrogate pair") }
    return scalar
  }

  private mutating func fourDigits() throws(HeaderFault) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek(), let digit = Self.hexDigit(byte) else { throw fault("four hexadecimal digits") }
      value = value << 4 | digit
      index += 1
    }
    return value
  }

  private static func hexDigit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
  }

  private mutating func skipSpace() {
    while let byte = peek(), byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { index += 1 }
  }

  private func peek() -> UInt8? { index < bytes.count ? bytes[index] : nil }

  private func place(_ index: Int) -> Int { index + Self.lengthByteCount }

  private func fault(_ expected: String) -> HeaderFault {
    guard let byte = peek() else {
      return HeaderFault(reason: "byte \(place(index)): the header ends, expected \(expected)")
    }
    let seen =
      (0x20..<0x7F).contains(byte) ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x\(String(byte, radix: 16))"
    return HeaderFault(reason: "byte \(place(index)): saw \(seen), expected \(expected)")
  }
}
