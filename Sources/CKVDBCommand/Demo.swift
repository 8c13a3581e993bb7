/// `ckvdb demo`: a store's whole life in about a screen: made-up data or a person's own, prefill, live appends,
/// reading, attention, vacuum, verification, and what it all takes. It uses nothing that a caller of the library could
/// not use.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "See a store at work, on made-up data or your own.",
    discussion: """
      Makes a store, fills it with the first 60 % of a stream of events at once and
      with the rest in commits of 256 as if they came in live, reads it in every way,
      packs it, checks it, and prints rates, latencies and compression ratios.

      Without files, a small model and a stream of events are made up. Everything is
      removed at the end unless a directory is named. With --events and --model it
      does the same with your own data.

        ckvdb demo
        ckvdb demo shop --users 10000 --event-count 1000000
        ckvdb demo --events events.tsv.gz --model model.safetensors
      """)

  @Argument(help: ArgumentHelp("Where everything is kept (default: nowhere).", valueName: "directory"))
  var directory: String?

  @Option(help: ArgumentHelp("Your own events.", valueName: "file"), completion: .file())
  var events: String?

  @Option(help: ArgumentHelp("Your own model.", valueName: "file"), completion: .file())
  var model: String?

  @Option(help: ArgumentHelp("Made-up users.", valueName: "count"))
  var users = 2_000

  @Option(
    help: ArgumentHelp(
      "Events that are made up (default: 200000), or taken from your own (default: up to 5000000).",
      valueName: "count"))
  var eventCount: Int?

  @Option(help: ArgumentHelp("The made-up data depend on it.", valueName: "number"))
  var seed: UInt64 = 1

  func validate() throws {
    guard (events == nil) == (model == nil) else {
      throw ValidationError("Give both --events and --model, or neither.")
    }
    guard (1...10_000_000).contains(users) else {
      throw ValidationError("--users is \(users), expected 1 to 10000000.")
    }
    if let eventCount, !(1...100_000_000).contains(eventCount) {
      throw ValidationError("--event-count is \(eventCount), expected 1 to 100000000.")
    }
  }

  func run() throws {
    let folder = try DemoFolder(directory)
    try naming(folder.path) {
      let (modelPath, stream) = try data(folder)
      try DemoRun(
        folder: folder, modelPath: modelPath, events: stream, eventsName: events ?? "made-up events", seed: seed
      ).run()
    }
    print("\nNext:")
    for line in next(folder) { print("  " + line) }
  }

  /// The model's file and the events.
  private func data(_ folder: DemoFolder) throws -> (String, [Event]) {
    if let events, let model {
      let limit = eventCount ?? 5_000_000
      var parser = EventParser(Inflater(try ByteSource(path: events)), needsTimestamps: false)
      var stream: [Event] = []
      while stream.count < limit, let event = try parser.next() { stream.append(event) }
      guard !stream.isEmpty else { throw CommandFailure(.data, "\(events): no event is in it") }
      print("\(NumberText.count(stream.count, "event")) of \(events), the model \(model)")
      return (model, stream)
    }
    let path = "\(folder.path)/model.safetensors"
    try DemoModel.write(to: path, seed: seed)
    let stream = DemoEvents.make(users: users, events: eventCount ?? 200_000, seed: seed)
    if folder.isKept { try DemoEvents.write(stream, to: "\(folder.path)/events.tsv") }
    let items = NumberText.count(DemoModel.itemCount, "item")
    print("\(NumberText.count(stream.count, "made-up event")), \(items), seed \(seed)")
    return (path, stream)
  }

  private func next(_ folder: DemoFolder) -> [String] {
    if folder.isKept {
      return [
        "ckvdb stat \(folder.store)", "ckvdb dump \(folder.store) --positions 0..<3 | head -40",
        "ckvdb help append",
      ]
    }
    guard events == nil else {
      return ["ckvdb demo shop --events FILE --model FILE   keep the store, to look into it", "ckvdb help append"]
    }
    return [
      "ckvdb demo shop                             keep the store, to look into it",
      "ckvdb demo --events FILE --model FILE       the same with your own data", "ckvdb --help",
    ]
  }
}

/// Where a demonstration lives: a directory that stays, or one that goes with this object.
final class DemoFolder {
  let path: String
  private let temporary: TemporaryFolder?
  var isKept: Bool { temporary == nil }
  var store: String { "\(path)/store.ckv" }

  init(_ directory: String?) throws {
    guard let directory else {
      let folder = try TemporaryFolder("demo")
      (path, temporary) = (folder.path, folder)
      return
    }
    (path, temporary) = (directory, nil)
    switch try FileSystem.kind(directory) {
    case nil: try naming(directory) { try FileSystem.makeDirectory(directory) }
    case .directory:
      guard try !FileSystem.exists("\(directory)/store.ckv") else {
        throw CommandFailure(.data, "\(directory)/store.ckv: already exists")
      }
    case .file, .link, .other: throw CommandFailure(.data, "\(directory): not a directory")
    }
  }
}
