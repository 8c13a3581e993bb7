/// A stage: new positions that are computed layer by layer before they are stored. A deep self-attention model needs
/// it, because the input of layer l + 1 is the output of layer l over stored and new positions. It reads one snapshot
/// of the users when it is made, keeps everything in memory, and writes nothing until `commit`.

internal import KVRuntime
internal import RowStorage

/// What a new position sees beside the stored ones.
public enum StageMask: Sendable {
  /// The new positions before it, and itself: prefill and appends of a causal model.
  case causal
  /// Itself alone: candidates that are scored side by side.
  case historyAndSelf
}

/// New positions of one or more users. Used by one thread at a time.
public final class Stage {
  private let store: CacheStore
  public let users: [UserID]
  /// New positions per user.
  public let counts: [Int]
  /// Stored positions per user, as of the stage's snapshot.
  public let lengths: [Int]
  /// Stored entries per user.
  private var stored: [Entries]
  /// New entries per layer, all users one after the other; `nil` until the layer is encoded.
  private var fresh: [LayerEntries?]
  /// Stored and new entries, per layer and user.
  private var joined: [[LayerEntries]]
  private let element: ElementType
  private var isOver = false

  var count: Int { counts.reduce(0, +) }

  init(
    _ store: CacheStore, _ users: [UserID], _ counts: [Int], expecting: [Int]?
  ) throws(StoreError) {
    guard users.count == counts.count, expecting.map({ $0.count == users.count }) ?? true else {
      throw .invalidInput("\(users.count) users, \(counts.count) counts, \(expecting?.count ?? users.count) positions")
    }
    guard Set(users).count == users.count else { throw .invalidInput("a user is twice in one stage") }
    var room = RowStore.lengthLimit
    for (user, count) in zip(users, counts) {
      guard count >= 0, count <= room else {
        throw .invalidInput("user \(user): \(count) new positions; a stage holds \(RowStore.lengthLimit) at most")
      }
      room -= count
    }
    self.store = store
    self.users = users
    self.counts = counts
    (lengths, stored) = try store.rows.withSnapshot { (snapshot) throws(StoreError) in
      var lengths: [Int] = []
      var stored: [Entries] = []
      for (index, user) in users.enumerated() {
        let found = try Self.read(user, &snapshot, store.model.shape)
        if let expected = expecting?[index], expected != found.count {
          throw .positionConflict(user: user, expected: expected, length: found.count)
        }
        lengths.append(found.count)
        stored.append(found)
      }
      return (lengths, stored)
    }
    fresh = Array(repeating: nil, count: store.model.shape.layers.count)
    joined = Array(repeating: [], count: fresh.count)
    element = store.rows.element
  }

  /// A user without rows has an empty history.
  private static func read(
    _ user: UserID, _ snapshot: inout Snapshot, _ shape: ModelShape
  ) throws(StoreError) -> Entries {
    do throws(StoreError) { return try snapshot.withHistory(of: user) { $0.entries } } catch {
      guard case .unknownUser = error else { throw error }
      return Entries(zeroed: shape, count: 0)
    }
  }

  /// Computes the new positions' entries of one layer. They count as stored ones from now on, rounded as such.
  ///
  /// - Parameters:
  ///   - embeddings: `new positions x d_e`, row-major, users one after the other.
  ///   - items: item ids, if the layer is interned.
  /// - Throws: `StoreError.invalidInput`.
  public func encode(layer: Int, _ embeddings: [Float], items: [Int64]? = nil) throws(StoreError) {
    try check(layer)
    let width = store.model.shape.embeddingWidth
    guard embeddings.count == count * width else {
      throw .invalidInput("layer \(layer): \(embeddings.count) numbers for \(count) embeddings of \(width)")
    }
    let encoder = try store.encoder()
    let encoded = try unsafe embeddings.withUnsafeBufferPointer { (buffer) throws(StoreError) in
      try unsafe encoder.encode(
        layer: layer, embeddings: buffer, rowStride: width, offset: 0, count: count, items: items)
    }
    try stage(layer, encoded)
  }

  /// Takes the new positions' entries of one layer as they were encoded elsewhere.
  public func set(layer: Int, _ entries: LayerEntries) throws(StoreError) {
    try check(layer)
    try stage(layer, entries)
  }

  /// Attention of one query per new position over its user's stored and new positions.
  ///
  /// - Parameters:
  ///   - queries: `new positions x d_k`, row-major, users one after the other.
  ///   - selectQueries: what `select` searches for: `new positions x d_k` of the searched layer.
  /// - Returns: `new positions x d_v`.
  /// - Throws: `StoreError.invalidInput`, also if the layer, or the one that is searched, was not encoded yet.
  public func attend(
    layer: Int, _ queries: [Float], mask: StageMask = .causal, _ attention: Attention = .softmax(),
    selectQueries: [Float]? = nil
  ) throws(StoreError) -> [Float] {
    try check(layer)
    let target = try AttentionTarget(store, layer, attention)
    for needed in [layer, target.searched ?? layer] where fresh[needed] == nil {
      throw .invalidInput("layer \(needed) is not encoded yet")
    }
    try check(queries, layer)
    if let searched = target.searched, let selectQueries { try check(selectQueries, searched) }
    let width = target.shape.key.width
    let searchWidth = target.searched.map { store.model.shape.layers[$0].key.width } ?? 0
    var output: [Float] = []
    output.reserveCapacity(count * (target.shape.value?.width ?? 0))
    var first = 0
    for index in users.indices {
      let end = first + counts[index]
      output += try target.answer(
        Array(queries[first * width..<end * width]),
        selectQueries: selectQueries.map { searchWidth > 0 ? Array($0[first * searchWidth..<end * searchWidth]) : $0 },
        joined[layer][index], search: target.searched.map { joined[$0][index] }, stored: lengths[index],
        count: counts[index], mask)
      first = end
    }
    return output
  }

  /// Stores the new positions of all users in one transaction.
  ///
  /// - Returns: the users' new lengths.
  /// - Throws: `StoreError.invalidInput` if a layer was not encoded, `.positionConflict` if a user's history has grown
  ///   since the stage was made: nothing was written.
  @discardableResult
  public func commit(items: [Int64]? = nil, timestamps: [Int64]? = nil) throws(StoreError) -> [Int] {
    guard !isOver else { throw .invalidInput("the stage is over") }
    var layers: [LayerEntries] = []
    for (number, layer) in fresh.enumerated() {
      guard let layer else { throw .invalidInput("layer \(number) is not encoded") }
      layers.append(layer)
    }
    let entries = Entries(count: count, layers: layers, items: items, timestamps: timestamps)
    let runs = users.indices.map { AppendRun(user: users[$0], count: counts[$0], expectedPosition: lengths[$0]) }
    let committed = try store.append(entries, runs: runs)
    discard()
    return committed
  }

  /// Forgets the new positions. Nothing was written.
  public func discard() {
    isOver = true
    stored = []
    fresh = []
    joined = []
  }

  // MARK: Inside

  private func check(_ layer: Int) throws(StoreError) {
    guard !isOver else { throw .invalidInput("the stage is over") }
    guard fresh.indices.contains(layer) else {
      throw .invalidInput("layer \(layer) does not exist: the model has \(fresh.count)")
    }
  }

  private func check(_ queries: [Float], _ layer: Int) throws(StoreError) {
    let width = store.model.shape.layers[layer].key.width
    guard queries.count == count * width else {
      throw .invalidInput("layer \(layer): \(queries.count) numbers for \(count) queries of \(width)")
    }
  }

  private func stage(_ layer: Int, _ encoded: LayerEntries) throws(StoreError) {
    var encoded = encoded
    let element = element
    for place in encoded.keyUser.indices { encoded.keyUser[place] = element.rounded(encoded.keyUser[place]) }
    for place in encoded.valueUser.indices { encoded.valueUser[place] = element.rounded(encoded.valueUser[place]) }
    let shape = store.model.shape.layers[layer]
    let alone = Entries(count: count, layers: [encoded])
    try alone.validate(against: ModelShape(embeddingWidth: 0, layers: [shape]), element: element)
    fresh[layer] = encoded
    var first = 0
    joined[layer] = users.indices.map { index in
      let (length, added) = (lengths[index], counts[index])
      var both = Entries(count: length + added, layers: [LayerEntries(zeroed: shape, count: length + added)])
      both.replace(from: 0, with: Entries(count: length, layers: [stored[index].layers[layer]]), 0..<length)
      both.replace(from: length, with: alone, first..<first + added)
      first += added
      return both.layers[0]
    }
  }
}

extension CacheStore {
  /// Starts to compute new positions of users layer by layer.
  ///
  /// - Parameters:
  ///   - counts: new positions per user.
  ///   - expecting: the users' present lengths, if the caller wants them checked now.
  /// - Throws: `StoreError.positionConflict`, `.staleUser`, `.damaged`, `.invalidInput`. A user without rows has an
  ///   empty
  ///   history.
  public func stage(_ users: [UserID], counts: [Int], expecting: [Int]? = nil) throws(StoreError) -> Stage {
    try Stage(self, users, counts, expecting: expecting)
  }
}
