/// What the commands share in their arguments: the store's path, and how values are read from text.

internal import ArgumentParser
package import CacheTypes
internal import CollectiveKV

extension ElementType: ExpressibleByArgument {
  public init?(argument: String) { self.init(name: argument) }
  public static var allValueStrings: [String] { allCases.map(\.name) }
}

extension UserID: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

extension RepeatPolicy: ExpressibleByArgument {
  public init?(argument: String) {
    switch argument {
    case "refuse": self = .refuse
    case "skip": self = .skip
    default: return nil
    }
  }
  public static var allValueStrings: [String] { ["refuse", "skip"] }
}

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

extension PositionRange: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
}

/// The store that a command works on.
struct StoreArgument: ParsableArguments {
  @Argument(help: ArgumentHelp("The store's directory.", valueName: "store"), completion: .directory)
  var path: String

  /// Opens the store, runs `body`, closes it; every error then carries the store's path.
  func open<Result>(_ access: OpenOptions.Access, _ body: (CacheStore) throws -> Result) throws -> Result {
    try naming(path) {
      let store = try CacheStore.open(at: path, options: OpenOptions(access: access))
      let result = try body(store)
      try store.close()
      return result
    }
  }
}

/// Runs `body`; a store's error becomes one that names `place`.
func naming<Result>(_ place: String, _ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let error as StoreError {
    throw ErrorText.failure(error, at: place)
  }
}
