/// A JSON value that can be written. Small and without Foundation, so that a child process whose memory is measured
/// does not carry a library that the store never needs.

/// One JSON value; objects keep their order, so that two results can be compared line by line.
enum JSON {
  case object([(String, JSON)])
  case array([JSON])
  case string(String)
  case number(Double)
  case integer(Int)
  case bool(Bool)

  /// The value as indented text.
  func text(indent: Int = 0) -> String {
    let inner = String(repeating: " ", count: indent + 2)
    let outer = String(repeating: " ", count: indent)
    switch self {
    case .object(let members) where members.isEmpty: return "{}"
    case .array(let elements) where elements.isEmpty: return "[]"
    case .object(let members):
      let lines = members.map { "\(inner)\(Self.quoted($0)): \($1.text(indent: indent + 2))" }
      return "{\n" + lines.joined(separator: ",\n") + "\n\(outer)}"
    case .array(let elements):
      return "[\n" + elements.map { inner + $0.text(indent: indent + 2) }.joined(separator: ",\n") + "\n\(outer)]"
    case .string(let text): return Self.quoted(text)
    case .number(let value): return value.isFinite ? Self.rounded(value) : "null"
    case .integer(let value): return String(value)
    case .bool(let value): return value ? "true" : "false"
    }
  }

  /// Six significant digits: more is noise.
  private static func rounded(_ value: Double) -> String {
    guard value != 0 else { return "0" }
    var scale = 1.0
    while abs(value) * scale < 100_000 { scale *= 10 }
    while abs(value) * scale >= 1_000_000 { scale /= 10 }
    let digits = (value * scale).rounded()
    return scale >= 1 ? "\(digits / scale)" : "\((digits * (1 / scale)).rounded())"
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
