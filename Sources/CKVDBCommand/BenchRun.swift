/// The steps of `ckvdb bench`: makes a model and a store of the shape in a folder, fills it with random entries, packs
/// it, and measures reading and then appending. It uses nothing of the store that a caller of the library could not
/// use.

internal import CacheTypes
internal import CollectiveKV
internal import PoolStorage

/// One run. Used by one thread.
final class BenchRun {
  private let shape: BenchShape
  private let machine: BenchMachine
  private let folder: String
  private let seconds: Double
  private let userCount: Int
  private var random = SplitMix64(seed: 1)

  /// Positions of one commit while the store is filled.
  private static let fillCount = 8_192
  private static let queryCount = 16
  /// The share of the time that goes to reading; appending has the rest.
  private static let readingShare = 0.7

  init(_ shape: BenchShape, _ machine: BenchMachine, folder: String, seconds: Double) {
    self.shape = shape
    self.machine = machine
    self.folder = folder
    self.seconds = seconds
    userCount = shape.userCount(on: machine)
  }

  func run() throws -> BenchReport {
    let model = folder + "/model.safetensors"
    try writeModel(to: model)
    let store = try CacheStore.create(at: folder + "/bench.ckv", model: model)
    try FileSystem.remove(model)
    try fill(store)
    _ = try store.vacuum()
    let statistics = try store.statistics()
    let reading = try measure(try readings(store), seconds * Self.readingShare)
    let appending = try measure(try appends(store), seconds * (1 - Self.readingShare))
    try store.close()
    return BenchReport(
      shape: shape, machine: machine, userCount: userCount, statistics: statistics, reading: reading,
      appending: appending)
  }

  // MARK: The store

  private func writeModel(to path: String) throws {
    let model = RandomModel(
      embeddingWidth: BenchShape.embeddingWidth, userWidth: BenchShape.userWidth, poolWidth: shape.poolWidth,
      poolRows: shape.pool, heads: shape.heads, poolDType: .f16)
    let rotations = [
      (name: "layers.0.rotations.simhash", shape: [BenchShape.simhashBits, shape.width]),
      (name: "layers.0.rotations.sdim", shape: [BenchShape.sdimGroups, BenchShape.sdimBits, shape.width]),
    ]
    try model.write(
      to: path, further: rotations, metadata: ["ckvdb.divisor": String(shape.positions)], &random)
  }

  /// Gives users 0, 1, 2, ... their positions, many users or a part of one to a commit.
  private func fill(_ store: CacheStore) throws {
    var progress = ProgressLine("positions stored")
    let total = userCount * shape.positions
    var done = 0
    while done < total {
      try Interruption.check()
      let count = min(Self.fillCount, total - done)
      var runs: [AppendRun] = []
      var place = done
      while place < done + count {
        let end = min((place / shape.positions + 1) * shape.positions, done + count)
        runs.append(AppendRun(user: .integer(Int64(place / shape.positions)), count: end - place))
        place = end
      }
      try store.append(entries(count), runs: runs)
      done += count
      progress.update(done, share: Double(done) / Double(total))
    }
    progress.clear()
  }

  /// Random ones: pool rows are used uniformly.
  private func entries(_ count: Int) -> Entries {
    let indices = { [self] in (0..<count).map { _ in UInt32(random.index(shape.pool)) } }
    let numbers = { [self] in random.normals(BenchShape.userWidth * count) }
    let layer = LayerEntries(
      keyIndices: indices(), valueIndices: indices(), keyUser: numbers(), valueUser: numbers())
    return Entries(count: count, layers: [layer])
  }

  // MARK: What is measured

  private func measure(_ operations: [BenchOperation], _ seconds: Double) throws -> [BenchResult] {
    var progress = ProgressLine("calls")
    let latencies = try BenchClock.measure(operations, seconds: seconds) { progress.update($0, share: $1) }
    progress.clear()
    return zip(operations, latencies).map { BenchResult(name: $0.name, latencies: $1) }
  }

  /// Reading a random user: the copy that a plain cache needs first, then what the store does instead.
  private func readings(_ store: CacheStore) throws -> [BenchOperation] {
    let full = try FullCache(userCount: userCount, byteCount: shape.fullByteCount)
    var operations = [
      BenchOperation(name: "copy") { [self] in
        let user = random.index(userCount)
        return timed { full.copy(user: user) }
      }
    ]
    let queries = (0..<Self.queryCount).map { _ in random.normals(shape.candidates * shape.width) }
    for (name, attention) in functions() {
      let isSearching = if case .select = attention.kind { true } else { false }
      operations.append(
        BenchOperation(name: name) { [self] in
          let own = queries[random.index(queries.count)]
          let request = AttendRequest(user: randomUser(), queries: own, selectQueries: isSearching ? own : nil)
          return try timed {
            if let error = try store.attend([request], layer: 0, attention)[0].error { throw error }
          }
        })
      guard Self.usesScores(attention) else { continue }
      let set = try store.candidates(
        queries[0], attention, selectQueries: isSearching ? queries[0] : nil,
        tableByteLimit: BenchShape.tableByteLimit)
      operations.append(
        BenchOperation(name: BenchResult.setPrefix + name) { [self] in
          let user = randomUser()
          return try timed {
            if let error = try store.attend(set, users: [user])[0].error { throw error }
          }
        })
    }
    operations.append(
      BenchOperation(name: "reconstruct") { [self] in
        let user = randomUser()
        return try timed { _ = try store.reconstruct(user: user, layer: 0) }
      })
    operations.append(
      BenchOperation(name: "read") { [self] in
        let user = randomUser()
        return try timed { _ = try store.entries(of: user) }
      })
    return operations
  }

  private func functions() -> [(String, Attention)] {
    let bias = random.normals(shape.positions, scale: 0.1)
    return [
      ("softmax", .softmax()), ("topk", .topk(top: BenchShape.top)), ("select", .select(top: BenchShape.top)),
      ("simhash", .simhash(top: BenchShape.top)), ("sdim", .sdim()), ("sdim_sum", .sdimSum()), ("silu", .silu()),
      ("silu_bias", .siluBias(bias)),
    ]
  }

  /// Whether a candidate set has anything to prepare: SDIM compares hash codes alone.
  private static func usesScores(_ attention: Attention) -> Bool {
    switch attention.kind {
    case .sdim, .sdimSum: false
    case .softmax, .topk, .select, .simhash, .silu, .siluBias: true
    }
  }

  /// Appending embeddings to random users, encoding included, each commit on the disk.
  private func appends(_ store: CacheStore) throws -> [BenchOperation] {
    let file = try SyncedFile(path: folder + "/synced")
    let width = BenchShape.embeddingWidth
    let embeddings = (0..<BenchShape.batchCount * 4).map { _ in random.normals(width) }
    let append = { [self] (count: Int) in
      let batch = (0..<count).map { _ in
        AppendRequest(user: randomUser(), source: .sharedEmbeddings(embeddings[random.index(embeddings.count)]))
      }
      return try timed { try store.append(batch) }
    }
    return [
      BenchOperation(name: "write") { try timed { try file.write() } },
      BenchOperation(name: "single") { try append(1) },
      BenchOperation(name: "batch") { try append(BenchShape.batchCount) },
    ]
  }

  private func randomUser() -> UserID { .integer(Int64(random.index(userCount))) }
}
