/// Appending, top-down: a batch of requests is encoded in one go, checked against the model, and handed to the rows
/// as runs of one set of entries. A prefill is an append to an empty history.

internal import KVRuntime
internal import RowStorage

extension CacheStore {
  /// Appends positions to a user's history.
  ///
  /// - Parameters:
  ///   - embeddings: `n x layers x d_e`, row-major.
  ///   - items: item ids, one per position: needed where the store keeps them or a layer is interned.
  ///   - timestamps: one per position, where the store keeps them.
  ///   - position: the position that the first one must get; `nil` appends at the end.
  /// - Returns: the user's new length.
  /// - Throws: as `append(_:repeats:)`.
  @discardableResult
  public func append(
    user: UserID, embeddings: [Float], items: [Int64]? = nil, timestamps: [Int64]? = nil, expecting position: Int? = nil
  ) throws(StoreError) -> Int {
    try append([
      AppendRequest(
        user: user, source: .embeddings(embeddings), items: items, timestamps: timestamps, expectedPosition: position)
    ])[0]
  }

  /// Appends items whose embeddings the model brings.
  @discardableResult
  public func append(
    user: UserID, items: [Int64], timestamps: [Int64]? = nil, expecting position: Int? = nil
  ) throws(StoreError) -> Int {
    try append([
      AppendRequest(user: user, source: .itemEmbeddings(items), timestamps: timestamps, expectedPosition: position)
    ])[0]
  }

  /// Appends entries that were encoded elsewhere.
  @discardableResult
  public func append(user: UserID, entries: Entries, expecting position: Int? = nil) throws(StoreError) -> Int {
    try append([AppendRequest(user: user, source: .entries(entries), expectedPosition: position)])[0]
  }

  /// Appends for many users in one transaction: all requests or none. A call that returned is on disk.
  ///
  /// - Parameter repeats: what happens to positions that a user has already, where a request states the position it
  ///   expects.
  /// - Returns: the users' lengths, as they are after each request.
  /// - Throws: `StoreError.invalidInput`, `.positionConflict`, `.staleUser`: nothing was written. `.busy`: another
  ///   process kept the write lock; nothing was written. `.io`: nothing was written, the disk may be full. `.poisoned`:
  ///   the commit failed; open the store anew to see whether it happened.
  /// - Complexity: encoding, then one row per request and one commit.
  @discardableResult
  public func append(_ batch: [AppendRequest], repeats: RepeatPolicy = .refuse) throws(StoreError) -> [Int] {
    let (entries, counts) = try encode(batch)
    let runs = zip(batch, counts).map { request, count in
      AppendRun(
        user: request.user, count: count, expectedPosition: request.expectedPosition,
        resetsStaleUser: request.resetsStaleUser)
    }
    return try append(entries, runs: runs, repeats: repeats)
  }

  /// Appends entries of many users that were encoded elsewhere, in one transaction: all runs or none.
  ///
  /// - Parameters:
  ///   - entries: the runs' positions, one run after the other.
  /// - Returns: the users' lengths, as they are after each run.
  /// - Throws: as `append(_:repeats:)`.
  /// - Complexity: one row per run and one commit.
  @discardableResult
  public func append(
    _ entries: Entries, runs: [AppendRun], repeats: RepeatPolicy = .refuse
  ) throws(StoreError) -> [Int] {
    try entries.validate(against: model.shape, element: rows.element)
    if columns.contains(.items), entries.items == nil {
      throw .invalidInput("the store keeps item ids, and the batch brings none")
    }
    if columns.contains(.timestamps), entries.timestamps == nil {
      throw .invalidInput("the store keeps timestamps, and the batch brings none")
    }
    var placed: [Run] = []
    placed.reserveCapacity(runs.count)
    var first = 0
    for run in runs {
      if case .bytes(let bytes) = run.user, bytes.count > UserID.byteCountLimit {
        throw .invalidInput("a user id of \(bytes.count) bytes: at most \(UserID.byteCountLimit)")
      }
      if let expected = run.expectedPosition, expected < 0 {
        throw .invalidInput("user \(run.user): the expected position is \(expected)")
      }
      guard run.count >= 0, run.count <= entries.count - first else {
        throw .invalidInput("user \(run.user): \(run.count) positions, \(entries.count - first) entries are left")
      }
      placed.append(
        Run(
          user: run.user, rows: first..<first + run.count, expectedPosition: run.expectedPosition,
          resetsStaleUser: run.resetsStaleUser))
      first += run.count
    }
    guard first == entries.count else {
      throw .invalidInput("\(entries.count) entries, the runs take \(first)")
    }
    return try rows.append(entries, placed, skipsRepeats: repeats == .skip)
  }

  // MARK: Encoding a batch

  /// The entries of all requests, one after the other, and how many each has. Neighbours of the same kind share one
  /// matrix product.
  private func encode(_ batch: [AppendRequest]) throws(StoreError) -> (Entries, [Int]) {
    var parts: [Entries] = []
    var counts: [Int] = []
    counts.reserveCapacity(batch.count)
    var next = 0
    while next < batch.count {
      var end = next + 1
      while end < batch.count, batch[end].source.kind == batch[next].source.kind { end += 1 }
      for request in batch[next..<end] { counts.append(try count(request)) }
      parts.append(try encode(batch[next..<end], counts[next..<end]))
      next = end
    }
    if parts.count == 1 { return (parts[0], counts) }
    let total = counts.reduce(0, +)
    var merged = Entries(
      zeroed: model.shape, count: total, keepsItems: parts.allSatisfy { $0.items != nil || $0.count == 0 },
      keepsTimestamps: parts.allSatisfy { $0.timestamps != nil || $0.count == 0 })
    var place = 0
    for part in parts {
      merged.replace(from: place, with: part, 0..<part.count)
      place += part.count
    }
    return (merged, counts)
  }

  /// Requests of one kind.
  private func encode(_ requests: ArraySlice<AppendRequest>, _ counts: ArraySlice<Int>) throws(StoreError) -> Entries {
    let count = counts.reduce(0, +)
    var embeddings: [Float] = []
    var items: [Int64] = []
    var timestamps: [Int64] = []
    for (request, count) in zip(requests, counts) {
      switch request.source {
      case .embeddings(let values), .sharedEmbeddings(let values): embeddings += values
      case .itemEmbeddings(let ids):
        guard request.items == nil || request.items == ids else {
          throw .invalidInput("user \(request.user): the items differ from those whose embeddings are asked for")
        }
        if request.items == nil { items += ids }
      case .entries: break
      }
      try Self.gather(request.items, count, into: &items, "items", request.user)
      try Self.gather(request.timestamps, count, into: &timestamps, "timestamps", request.user)
    }
    var entries: Entries
    switch requests[requests.startIndex].source {
    case .embeddings, .sharedEmbeddings:
      let isPerLayer = if case .embeddings = requests[requests.startIndex].source { true } else { false }
      guard items.isEmpty || items.count == count else {
        throw .invalidInput("\(items.count) items for \(count) positions")
      }
      entries = try encoder().encode(
        embeddings: embeddings, count: count, isPerLayer: isPerLayer, items: items.isEmpty && count > 0 ? nil : items)
    case .itemEmbeddings:
      entries = try encoder().encode(items: items)
      try pool.checkWhole()
    case .entries: entries = try gatherEntries(requests, count)
    }
    if entries.items == nil, !items.isEmpty { entries.items = items }
    if entries.timestamps == nil, !timestamps.isEmpty { entries.timestamps = timestamps }
    if count == 0 { (entries.items, entries.timestamps) = ([], []) }
    return entries
  }

  private static func gather(
    _ column: [Int64]?, _ count: Int, into target: inout [Int64], _ name: String, _ user: UserID
  ) throws(StoreError) {
    guard let column else { return }
    guard column.count == count else {
      throw .invalidInput("user \(user): \(column.count) \(name) for \(count) positions")
    }
    target += column
  }

  private func gatherEntries(_ requests: ArraySlice<AppendRequest>, _ count: Int) throws(StoreError) -> Entries {
    let parts: [Entries] = requests.compactMap { if case .entries(let entries) = $0.source { entries } else { nil } }
    for part in parts { try part.validateCounts(against: model.shape) }
    if parts.count == 1 { return parts[0] }
    var merged = Entries(
      zeroed: model.shape, count: count, keepsItems: parts.allSatisfy { $0.items != nil },
      keepsTimestamps: parts.allSatisfy { $0.timestamps != nil })
    var place = 0
    for part in parts {
      merged.replace(from: place, with: part, 0..<part.count)
      place += part.count
    }
    return merged
  }

  /// Positions of a request.
  private func count(_ request: AppendRequest) throws(StoreError) -> Int {
    switch request.source {
    case .itemEmbeddings(let items): return items.count
    case .entries(let entries): return entries.count
    case .embeddings(let values):
      return try rowCount(values.count, model.shape.layers.count * model.shape.embeddingWidth, request)
    case .sharedEmbeddings(let values): return try rowCount(values.count, model.shape.embeddingWidth, request)
    }
  }

  private func rowCount(_ count: Int, _ width: Int, _ request: AppendRequest) throws(StoreError) -> Int {
    // A model that encodes nothing takes embeddings of no width: the items say how many positions there are.
    if width == 0, count == 0 { return request.items?.count ?? 0 }
    guard width > 0, count.isMultiple(of: width) else {
      throw .invalidInput("user \(request.user): \(count) numbers are no whole rows of \(width)")
    }
    return count / width
  }
}

extension AppendRequest.Source {
  /// Which case it is, without its content.
  fileprivate var kind: Int {
    switch self {
    case .embeddings: 0
    case .sharedEmbeddings: 1
    case .itemEmbeddings: 2
    case .entries: 3
    }
  }
}
