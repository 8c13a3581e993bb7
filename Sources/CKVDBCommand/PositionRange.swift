/// Ranges of positions, as they are written on the command line.

/// A range of positions as it is written: `3..<10`, `3...9`, `3...`, `..<10`, or `3` alone.
package struct PositionRange: Hashable, Sendable {
  package var range: Range<Int>

  package init?(_ text: String) {
    let bounds: (lower: Int, upper: Int)
    if let (lower, upper) = Self.split(text, at: "..<") {
      guard let first = lower.isEmpty ? 0 : Self.position(lower), let end = upper.isEmpty ? .max : Self.position(upper)
      else { return nil }
      bounds = (first, end)
    } else if let (lower, upper) = Self.split(text, at: "...") {
      guard let first = lower.isEmpty ? 0 : Self.position(lower),
        let last = upper.isEmpty ? .max - 1 : Self.position(upper), last < .max
      else { return nil }
      bounds = (first, last + 1)
    } else {
      guard let only = Self.position(text[...]), only < .max else { return nil }
      bounds = (only, only + 1)
    }
    guard bounds.lower <= bounds.upper else { return nil }
    range = bounds.lower..<bounds.upper
  }

  /// Digits only: no sign, no space.
  private static func position(_ text: Substring) -> Int? {
    guard !text.isEmpty, text.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) else { return nil }
    return Int(text)
  }

  private static func split(_ text: String, at separator: String) -> (Substring, Substring)? {
    var rest = text[...]
    while !rest.isEmpty {
      if rest.hasPrefix(separator) { return (text[..<rest.startIndex], rest.dropFirst(separator.count)) }
      rest = rest.dropFirst()
    }
    return nil
  }
}
