/// What `ckvdb bench` found, for people and as JSON. The names of the JSON object are a promise: they stay, others may
/// be added.

internal import CollectiveKV

/// The times of one operation.
struct BenchResult {
  /// What the name of an operation with a candidate set begins with.
  static let setPrefix = "set."

  let name: String
  let latencies: Latencies

  var usesSet: Bool { name.hasPrefix(Self.setPrefix) }
  /// The name without the prefix.
  var function: String { usesSet ? String(name.dropFirst(Self.setPrefix.count)) : name }

  var middle: Double { latencies.quantile(0.5) ?? .nan }
  var slow: Double { latencies.quantile(0.99) ?? .nan }
}

struct BenchReport {
  let shape: BenchShape
  let machine: BenchMachine
  let userCount: Int
  /// Of the store when it was packed, before anything was appended to it.
  let statistics: StoreStatistics
  /// The copy first.
  let reading: [BenchResult]
  /// The synced write first.
  let appending: [BenchResult]

  private var fullSetByteCount: Int { userCount * shape.fullByteCount }
  /// How many times the last-level cache holds the full keys and values.
  private var cacheMultiple: Double { Double(fullSetByteCount) / Double(machine.cacheByteCount) }
  private var storedByteCountPerPosition: Double {
    Double(statistics.databaseByteCount) / Double(max(statistics.positions, 1))
  }
  private var ratio: Double { storedByteCountPerPosition / Double(shape.fullByteCountPerPosition) }

  // MARK: For people

  var text: String {
    let size = NumberText.bytes
    let count = NumberText.count
    var lines = [
      "K and V of \(NumberText.grouped(shape.width)) numbers each, \(count(shape.heads, "head", nil)): "
        + "\(BenchShape.userWidth) a user's own, \(NumberText.grouped(shape.poolWidth)) from a pool of "
        + "\(count(shape.pool, "row", nil)), f16",
      "\(count(userCount, "user", nil)) of \(count(shape.positions, "position", nil)); their full K and V: "
        + "\(size(fullSetByteCount)), \(NumberText.fixed(cacheMultiple, 1)) times the last-level cache of "
        + size(machine.cacheByteCount),
    ]
    if cacheMultiple < 3.995 { lines.append("(less than four times: parts of it may stay in the cache)") }
    lines += [
      "",
      "a position takes \(NumberText.grouped(shape.fullByteCountPerPosition)) bytes of full K and V, "
        + "\(NumberText.fixed(storedByteCountPerPosition, 2)) in the store: \(NumberText.percent(ratio))",
      "(and the pool, once for all users: \(size(statistics.poolByteCount)))", "",
      Self.row("a random user, one thread", "p50", "p99", "of the copy"),
    ]
    lines += Self.rows(reading, names: readingNames)
    lines += ["", Self.row("random users, each commit on the disk", "p50", "p99", "of the write")]
    lines += Self.rows(appending, names: appendingNames)
    return lines.joined(separator: "\n")
  }

  private var readingNames: [String: String] {
    let queries = NumberText.count(shape.candidates, "query", "queries")
    var names = [
      "copy": "copy full K and V", "read": "read entries only", "reconstruct": "reconstruct full K and V, f32",
    ]
    for result in reading where names[result.name] == nil {
      let function = String(result.function.map { $0 == "_" ? "-" : $0 })
      names[result.name] = "attend \(function), " + (result.usesSet ? "candidate set" : queries)
    }
    return names
  }

  private var appendingNames: [String: String] {
    [
      "write": "write \(NumberText.grouped(SyncedFile.byteCount)) bytes, synced", "single": "append 1 position",
      "batch": "append \(BenchShape.batchCount) positions",
    ]
  }

  private static func rows(_ results: [BenchResult], names: [String: String]) -> [String] {
    results.map { result in
      let ratio = result.middle / (results.first?.middle ?? .nan)
      return row(
        "  " + (names[result.name] ?? result.name), NumberText.time(result.middle), NumberText.time(result.slow),
        NumberText.fixed(ratio, 2))
    }
  }

  private static func row(_ name: String, _ columns: String...) -> String {
    columns.reduce(ModelText.pad(name, 40)) { line, column in
      line + String(repeating: " ", count: max(1, 13 - column.count)) + column
    }
  }

  // MARK: For programs

  var json: String {
    JSONText.object([
      ("version", JSONText.string(Command.version)),
      ("shape", shapeJSON),
      (
        "machine",
        JSONText.object([
          ("cores", String(machine.coreCount)), ("last_level_cache_bytes", String(machine.cacheByteCount)),
          ("memory_bytes", String(machine.memoryByteCount)),
        ])
      ),
      (
        "set",
        JSONText.object([
          ("users", String(userCount)), ("full_bytes", String(fullSetByteCount)),
          ("last_level_caches", JSONText.number(cacheMultiple)),
        ])
      ),
      (
        "bytes_per_position",
        JSONText.object([
          ("full_f16", String(shape.fullByteCountPerPosition)),
          ("stored", JSONText.number(storedByteCountPerPosition)), ("ratio", JSONText.number(ratio)),
        ])
      ),
      ("pool_bytes", String(statistics.poolByteCount)),
      ("copy", Self.result("copy", reading, nil)),
      (
        "attend",
        JSONText.object(
          reading.filter { !$0.usesSet && !["copy", "reconstruct", "read"].contains($0.name) }
            .map { ($0.name, Self.result($0.name, reading, "copy")) })
      ),
      (
        "attend_candidate_set",
        JSONText.object(reading.filter(\.usesSet).map { ($0.function, Self.result($0.name, reading, "copy")) })
      ),
      ("reconstruct", Self.result("reconstruct", reading, "copy")),
      ("read", Self.result("read", reading, "copy")),
      ("write", Self.result("write", appending, nil)),
      (
        "append",
        JSONText.object([
          ("single", Self.result("single", appending, "write")), ("batch", Self.result("batch", appending, "write")),
        ])
      ),
    ])
  }

  private var shapeJSON: String {
    JSONText.object([
      ("positions", String(shape.positions)), ("pool", String(shape.pool)), ("width", String(shape.width)),
      ("candidates", String(shape.candidates)), ("heads", String(shape.heads)),
      ("user_width", String(BenchShape.userWidth)), ("embedding_width", String(BenchShape.embeddingWidth)),
      ("element", JSONText.string(statistics.element.name)), ("top", String(BenchShape.top)),
      ("batch", String(BenchShape.batchCount)),
    ])
  }

  /// - Parameter base: the result that this one is divided by.
  private static func result(_ name: String, _ results: [BenchResult], _ base: String?) -> String {
    guard let own = results.first(where: { $0.name == name }) else { return "null" }
    var members = [
      ("p50_seconds", JSONText.number(own.middle)), ("p99_seconds", JSONText.number(own.slow)),
      ("calls", String(own.latencies.count)),
    ]
    if let base, let other = results.first(where: { $0.name == base }) {
      members.append(("p50_of_\(base)", JSONText.number(own.middle / other.middle)))
      members.append(("p99_of_\(base)", JSONText.number(own.slow / other.slow)))
    }
    return JSONText.object(members)
  }
}
