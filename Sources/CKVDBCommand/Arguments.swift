/// What the commands share in their arguments: the store's path, and how values are read from text.

public import ArgumentParser
public import CacheTypes
public import CollectiveKV

extension ElementType: ExpressibleByArgument {
  public init?(argument: String) { self.init(name: argument) }
  public static var allValueStrings: [String] { allCases.map(\.name) }
  public var defaultValueDescription: String { name }
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

extension PositionRange: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
}

/// The store that a command works on.
struct StoreArgument: ParsableArguments {
  @Argument(help: ArgumentHelp("The store's directory.", valueName: "store"), completion: .directory)
  var path: String

  /// Opens the store, says what its watermark has against it, runs `body`, closes it; every error then carries the
  /// store's path.
  func open<Result>(
    _ access: OpenOptions.Access, _ rollback: RollbackArgument, _ body: (CacheStore) throws -> Result
  ) throws -> Result {
    try open(access, acceptsRollback: rollback.accepts) { store in
      let state = store.watermarkAtOpening
      if state != .sound { ErrorText.complain("\(path): \(state)\(state.isRefused ? ", as accepted" : "")") }
      return try body(store)
    }
  }

  /// The same for commands that report the watermark themselves.
  func open<Result>(
    _ access: OpenOptions.Access, acceptsRollback: Bool, _ body: (CacheStore) throws -> Result
  ) throws -> Result {
    try naming(path) {
      let store = try CacheStore.open(
        at: path, options: OpenOptions(access: access, acceptsRollback: acceptsRollback))
      let result = try body(store)
      try store.close()
      return result
    }
  }
}

/// What commands do about a store that lost commits, unless they only report it.
struct RollbackArgument: ParsableArguments {
  @Flag(name: .customLong("accept-rollback"), help: "Open a store that has lost its newest commits.")
  var accepts = false
}

/// Runs `body`; a store's error becomes one that names `place`.
func naming<Result: ~Copyable>(_ place: String, _ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let error as StoreError {
    throw ErrorText.failure(error, at: place)
  }
}

/// Checks a page size given on the command line.
func validatePageSize(_ byteCount: Int?) throws {
  let sizes = [4_096, 8_192, 16_384, 32_768, 65_536]
  guard let byteCount, !sizes.contains(byteCount) else { return }
  throw ValidationError("--page-size is \(byteCount), expected 4096, 8192, 16384, 32768 or 65536.")
}
