/// The steps of the demonstration, each of which prints what it did. The order is that of a store's life.

internal import CacheTypes
internal import CollectiveKV
internal import Glibc

struct DemoRun {
  let folder: DemoFolder
  let modelPath: String
  let events: [Event]
  /// What the events came from.
  let eventsName: String
  let seed: UInt64

  private static let commitEventCount = 256
  private static let prefillPositionCount = 8_192
  private static let attendCount = 1_000

  func run() throws {
    let store = try CacheStore.create(at: folder.store, model: modelPath)
    guard let itemCount = store.model.itemCount else {
      throw CommandFailure(.data, "\(modelPath): no items.embedding is in it, so events cannot be encoded")
    }
    if let event = events.first(where: { $0.item < 0 || $0.item >= Int64(itemCount) }) {
      throw CommandFailure(.data, "\(eventsName): item \(event.item) is not one of the model's \(itemCount) items")
    }
    for (number, layer) in store.model.shape.layers.enumerated() { step("layer \(number)", Self.text(layer)) }
    let split = events.count * 3 / 5
    try prefill(store, events[..<split])
    try appendLive(store, events[split...])
    let (users, busiest) = histories()
    try reconstruct(store, busiest)
    try attend(store, users)
    try dump(store, busiest)
    try pack(store)
    try verify(store)
    let statistics = try store.statistics()
    print()
    step(
      "stored", "\(NumberText.count(statistics.users, "user")), \(NumberText.count(statistics.positions, "position"))")
    for line in Stat.ratioTable(statistics) { print("  " + line) }
    try store.close()
  }

  // MARK: Steps

  private func prefill(_ store: CacheStore, _ events: ArraySlice<Event>) throws {
    var histories = EventBatch()
    for event in events { histories.add(event) }
    let requests = histories.requests()
    let counts = histories.requestCounts
    let seconds = try timed {
      var first = 0
      while first < requests.count {
        var (end, count) = (first, 0)
        while end < requests.count, end == first || count < Self.prefillPositionCount {
          count += counts[end]
          end += 1
        }
        try store.append(Array(requests[first..<end]))
        first = end
      }
    }
    step(
      "prefill",
      "\(NumberText.count(events.count, "event")) of \(NumberText.count(requests.count, "user")), "
        + "whole histories at once: \(Self.rate(events.count, seconds))")
  }

  private func appendLive(_ store: CacheStore, _ events: ArraySlice<Event>) throws {
    var latencies = Latencies()
    var progress = ProgressLine("events")
    var batch = EventBatch()
    let seconds = try timed {
      var first = events.startIndex
      while first < events.endIndex {
        let end = min(first + Self.commitEventCount, events.endIndex)
        latencies.add(
          try timed {
            batch.removeAll()
            for event in events[first..<end] { batch.add(event) }
            try store.append(batch.requests())
          })
        first = end
        let done = first - events.startIndex
        progress.update(done, share: Double(done) / Double(events.count))
      }
    }
    progress.clear()
    step(
      "append",
      "\(NumberText.count(events.count, "event")) live, \(NumberText.count(latencies.count, "commit")) of up to "
        + "\(Self.commitEventCount), each on disk: \(Self.rate(events.count, seconds))")
    step("", latencies.text("a commit"))
  }

  private func reconstruct(_ store: CacheStore, _ user: UserID) throws {
    var full: FullKV?
    let seconds = try timed { full = try store.reconstruct(user: user, layer: 0) }
    guard let full else { return }
    step(
      "read",
      "full K and V of user \(user), \(NumberText.grouped(full.positions.count)) x (\(full.keyWidth) + "
        + "\(full.valueWidth)): \(NumberText.time(seconds))")
  }

  private func attend(_ store: CacheStore, _ users: [(user: UserID, count: Int)]) throws {
    guard let layer = store.model.shape.layers.firstIndex(where: { $0.value != nil }) else { return }
    var random = SplitMix64(seed: seed ^ 0xA77E)
    var latencies = Latencies()
    var seen = 0
    for _ in 0..<Self.attendCount {
      let (user, count) = users[random.index(users.count)]
      let query = random.normals(store.model.shape.layers[layer].key.width)
      latencies.add(try timed { _ = try store.attend(query, user: user, layer: layer) })
      seen += count
    }
    step(
      "attend",
      "\(NumberText.grouped(Self.attendCount)) queries over random users, "
        + "\(NumberText.count(seen / Self.attendCount, "position")) on average")
    step("", latencies.text("a query"))
  }

  private func dump(_ store: CacheStore, _ user: UserID) throws {
    step("dump", "of user \(user), the first positions")
    fflush(nil)
    let columns = DumpColumns(
      shape: store.model.shape, layers: Array(store.model.shape.layers.indices.prefix(1)), hasItems: false,
      hasTimestamps: false, isFull: false)
    let sink = TextDump(columns, try Output(path: nil))
    try store.forEachHistory(user: user, positions: 0..<3) { history in
      try sink.write(DumpPiece(user: user, firstPosition: 0, entries: history.entries, full: []))
    }
    try sink.finish()
  }

  private func pack(_ store: CacheStore) throws {
    var report: VacuumReport?
    let seconds = try timed { report = try store.vacuum() }
    guard let report else { return }
    step(
      "vacuum",
      "\(NumberText.bytes(report.byteCountBefore)) to \(NumberText.bytes(report.byteCountAfter)), "
        + "\(NumberText.count(report.foldedRows, "row")) folded: \(NumberText.time(seconds))")
  }

  private func verify(_ store: CacheStore) throws {
    var report: VerifyReport?
    let seconds = try timed { report = try store.verify() }
    guard let report else { return }
    step(
      "verify",
      "\(NumberText.count(report.rows, "row")), \(Verify.verdict(report.problems)): \(NumberText.time(seconds))")
    guard report.problems.isEmpty else {
      throw CommandFailure(.data, report.problems.map(\.description).joined(separator: "\n"))
    }
  }

  // MARK: What the steps share

  /// How many events each user has, and who has the most.
  private func histories() -> ([(user: UserID, count: Int)], UserID) {
    var counts: [UserID: Int] = [:]
    for event in events { counts[event.user, default: 0] += 1 }
    let users = counts.map { (user: $0.key, count: $0.value) }.sorted { $0.user < $1.user }
    let busiest = users.max { ($0.count, $1.user) < ($1.count, $0.user) }
    return (users, busiest?.user ?? 0)
  }

  private func step(_ name: String, _ text: String) { print(ModelText.pad(name, 10) + text) }

  private static func rate(_ count: Int, _ seconds: Double) -> String {
    "\(NumberText.time(seconds)), \(NumberText.fixed(Double(count) / max(seconds, 1e-9), 0)) events/s"
  }

  private static func text(_ layer: LayerShape) -> String {
    "\(ModelText.sides(layer)); \(NumberText.count(layer.heads, "head"))"
  }
}
