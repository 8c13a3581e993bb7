/// `ckvdb append`: rows of a safetensors file or a stream of events into a store, batch by batch, one transaction each.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Append: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Append to the histories of users.",
    discussion: """
      From a safetensors file (--input), T rows in the order of time:

        user [T] i64, or user.bytes [B] u8 and user.ends [T]    whose row it is
        embedding [T, d_e] or [T, layers, d_e] f32, f16, bf16   to be encoded; or
        layers.<l>.{key,value}.index [T], .user [T, d_u]        already encoded
        position [T]                                            if it is known
        item [T], timestamp [T]                                 if they are kept

      Without embedding and layers, the rows of items.embedding are taken. The
      file is checked as a whole before its first row is stored.

      From a stream of events (--events), lines of

        user item timestamp ...

      between tabs or spaces; further columns, blank lines and lines that start with
      # are skipped; gzip is inflated on the fly. The model must bring
      items.embedding. The timestamp may be missing if the store keeps none.

      Each batch is one transaction: when an error ends the command, the batches
      before it are stored, the batch with the error is not, and the message says so.
      With --repeats skip, the k-th row of a user is taken for position k of the
      history unless the file states positions, and what the store already has is
      skipped: an append that was interrupted can simply be run again.

        ckvdb append shop.ckv --input history.safetensors
        ckvdb append shop.ckv --events events.tsv.gz --repeats skip
        tail -f clicks.tsv | ckvdb append shop.ckv --events - --batch 1
      """)

  @OptionGroup var store: StoreArgument

  @OptionGroup var rollback: RollbackArgument

  @Option(
    help: ArgumentHelp("A safetensors file of embeddings or encoded entries.", valueName: "file"),
    completion: .file())
  var input: String?

  @Option(help: ArgumentHelp("A stream of events, - for standard input.", valueName: "file"), completion: .file())
  var events: String?

  @Option(help: "What to do with positions that are stored already.")
  var repeats: RepeatPolicy = .refuse

  @Option(
    help: ArgumentHelp(
      "Events or rows per transaction (default: 256 events, up to 8192 rows).", valueName: "count"))
  var batch: Int?

  func validate() throws {
    guard (input == nil) != (events == nil) else { throw ValidationError("Give either --input or --events.") }
    if let batch, batch < 1 { throw ValidationError("--batch is \(batch), expected at least 1.") }
  }

  func run() throws {
    try store.open(.readWrite, rollback) { store in
      if let input { try append(tensors: input, to: store) }
      if let events { try append(events: events, to: store) }
    }
  }

  // MARK: Tensors

  private func append(tensors path: String, to store: CacheStore) throws {
    let tensors = try naming(path) { try TensorAppend(path: path, for: store) }
    do { try tensors.checkPositions(store, repeats) } catch {
      throw Self.failure(error, input: path, store: store.path)
    }
    let numbersRows = repeats == .skip && !tensors.statesPositions
    let batchRowCount = batch ?? tensors.batchRowCount
    var tally = Tally("row")
    var progress = ProgressLine("rows")
    var replay = ReplayCounter()
    var first = 0
    while first < tensors.rowCount {
      let end = first + min(batchRowCount, tensors.rowCount - first)
      var counts: [Int] = []
      var batch: [AppendRequest] = []
      do {
        for (rows, request) in try tensors.requests(first..<end) {
          counts.append(rows.count)
          batch.append(request)
        }
        if numbersRows { try replay.number(&batch, counts: counts, store) }
        try store.append(batch, repeats: repeats)
      } catch {
        progress.clear()
        throw tally.completed(Self.failure(error, input: "\(path): rows \(first) to \(end - 1)", store: store.path))
      }
      tally.add(end - first, users: batch)
      first = end
      progress.update(first, share: Double(first) / Double(tensors.rowCount))
    }
    progress.clear()
    print(tally.text(skipped: replay.skipped))
  }

  // MARK: Events

  private func append(events path: String, to store: CacheStore) throws {
    guard let itemCount = store.model.itemCount else {
      throw CommandFailure(.data, "\(store.path): the model brings no items.embedding, so it cannot take events")
    }
    let source = try ByteSource(path: path)
    var parser = EventParser(Inflater(source), needsTimestamps: store.keepsTimestamps)
    let batchEventCount = batch ?? 256
    var batch = EventBatch()
    var firstLine = 1
    var tally = Tally("event")
    var progress = ProgressLine("events")
    var replay = ReplayCounter()

    func commit() throws {
      var requests = batch.requests()
      do {
        if repeats == .skip {
          try replay.number(&requests, counts: batch.requestCounts, store)
        }
        try store.append(requests, repeats: repeats)
      } catch {
        throw Self.failure(
          error, input: "\(parser.name): lines \(firstLine) to \(parser.lineNumber)", store: store.path)
      }
      tally.add(batch.eventCount, users: requests)
      batch.removeAll()
      firstLine = parser.lineNumber + 1
      progress.update(tally.count, share: source.byteCount.map { Double(source.bytesRead) / Double(max($0, 1)) })
    }

    do {
      while let event = try parser.next() {
        guard event.item >= 0, event.item < Int64(itemCount) else {
          throw parser.failure("item \(event.item) is not one of the model's \(itemCount) items")
        }
        batch.add(event)
        if batch.eventCount == batchEventCount { try commit() }
      }
      if !batch.isEmpty { try commit() }
    } catch let failure as CommandFailure {
      progress.clear()
      throw tally.completed(failure)
    }
    progress.clear()
    print(tally.text(skipped: replay.skipped))
  }

  /// The caller's data is named by its file, everything else by the store.
  private static func failure(_ error: StoreError, input: String, store: String) -> CommandFailure {
    if case .invalidInput = error { return ErrorText.failure(error, at: input) }
    return ErrorText.failure(error, at: store)
  }
}

/// What has been stored so far, and how fast.
package struct Tally {
  package private(set) var count = 0
  private let noun: String
  private var users: Set<UserID> = []
  private let start = ContinuousClock.now

  package init(_ noun: String) { self.noun = noun }

  mutating func add(_ count: Int, users requests: [AppendRequest]) {
    self.count += count
    for request in requests { users.insert(request.user) }
  }

  /// The closing line.
  func text(skipped: Int) -> String {
    let seconds = NumberText.seconds(ContinuousClock.now - start)
    return Self.text(count, noun, users: users.count, skipped: skipped, seconds: seconds)
  }

  package static func text(_ count: Int, _ noun: String, users: Int, skipped: Int, seconds: Double) -> String {
    let rate = NumberText.fixed(Double(count) / max(seconds, 1e-6), 0)
    let repeated = skipped > 0 ? ", \(NumberText.grouped(skipped)) of them stored before" : ""
    return "\(NumberText.count(count, noun)) of \(NumberText.count(users, "user"))\(repeated), "
      + "\(NumberText.fixed(seconds, 2)) s, \(rate) \(noun)s/s"
  }

  /// Adds to a failure what is stored nevertheless.
  package func completed(_ failure: CommandFailure) -> CommandFailure {
    let stored = count == 0 ? "nothing was" : "\(NumberText.count(count, noun)) \(count == 1 ? "was" : "were")"
    return CommandFailure(failure.status, "\(failure.message) (\(stored) stored before that)")
  }
}
