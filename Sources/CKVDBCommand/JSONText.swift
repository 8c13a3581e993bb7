/// JSON (RFC 8259) as text: what the commands print for programs. It writes; nothing here reads.

package import CacheTypes

package enum JSONText {
  package static func string(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20: result += "\\u00" + Hex.encode([UInt8(scalar.value)])
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// The shortest digits that read back as the same number; `null` for what JSON has no number for.
  package static func number(_ value: Double) -> String { value.isFinite ? String(describing: value) : "null" }

  /// An integer id as a number, a byte id as the string `x'..'`.
  package static func user(_ user: UserID) -> String {
    switch user {
    case .integer(let value): String(value)
    case .bytes: string(user.description)
    }
  }

  package static func array(_ elements: some Sequence<String>) -> String { "[" + elements.joined(separator: ",") + "]" }

  package static func object(_ members: [(name: String, value: String)]) -> String {
    "{" + members.map { string($0.name) + ":" + $0.value }.joined(separator: ",") + "}"
  }
}
