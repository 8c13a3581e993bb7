/// ckvdb itself, through its public interface alone.

import CollectiveKV

final class CKVDBEngine: Engine {
  let name = "ckvdb"
  let path: String
  let store: CacheStore

  init(path: String, model: String, element: ElementType = .f16) throws {
    self.path = path
    store = try CacheStore.create(at: path, model: model, options: CreateOptions(element: element))
  }

  /// A commit as the engine takes it.
  static func columns(_ entries: [Entry]) -> Entries { columns(entries.count) { entries[$0] } }

  /// Entries column by column.
  private static func columns(_ count: Int, _ entry: (Int) -> Entry) -> Entries {
    var layer = LayerEntries()
    let entries = (0..<count).map(entry)
    layer.keyIndices = entries.map { $0.indices & 1_023 }
    layer.valueIndices = entries.map { $0.indices >> 10 }
    layer.keyUser = entries.map { $0.number(0) } + entries.map { $0.number(1) }
    layer.valueUser = entries.map { $0.number(2) } + entries.map { $0.number(3) }
    return Entries(count: count, layers: [layer])
  }

  func load(_ population: Population) throws { try load(population, poolRows: 1_024) }

  /// As `load`; indices are taken modulo `poolRows`, a power of two of at most 1,024.
  func load(_ population: Population, poolRows: Int) throws {
    try fill(population, poolRows: poolRows)
    try compact()
  }

  /// Stores whole histories and folds them, without a vacuum.
  func fill(_ population: Population, poolRows: Int = 1_024) throws {
    var batch: [AppendRequest] = []
    var positions = 0
    for (user, length) in zip(population.ids, population.lengths) {
      let entries = Self.columns(length) { Entry(user: user, position: $0).within(poolRows: poolRows) }
      batch.append(AppendRequest(user: .integer(user), source: .entries(entries)))
      positions += length
      if positions >= 200_000 {
        try store.append(batch)
        (batch, positions) = ([], 0)
      }
    }
    if !batch.isEmpty { try store.append(batch) }
    try store.fold()
  }

  func commit(_ commit: Commit) throws {
    guard let columns = commit.columns else { throw BenchmarkError("a commit made for a peer") }
    try store.append(columns, runs: commit.appendRuns)
  }

  func read(_ user: Int64) throws -> Int { try store.entries(of: .integer(user)).count }

  func hash(of user: Int64) throws -> (positions: Int, hash: UInt64) {
    let entries = try store.entries(of: .integer(user))
    let (count, layer) = (entries.count, entries.layers[0])
    var hash: UInt64 = 0
    for position in 0..<count {
      var entry = Entry(user: 0, position: 0)
      entry.indices = layer.keyIndices[position] | layer.valueIndices[position] << 10
      entry.numbers = 0
      let numbers = [
        layer.keyUser[position], layer.keyUser[count + position], layer.valueUser[position],
        layer.valueUser[count + position],
      ]
      for (place, number) in numbers.enumerated() {
        let bits = number.bitPattern
        let half = (bits >> 16 & 0x8000) | ((bits & 0x7FFF_FFFF) &- 0x3800_0000) >> 13
        entry.numbers |= UInt64(half) << (UInt64(place) * 16)
      }
      hash = entry.hashed(into: hash)
    }
    return (count, hash)
  }

  func settle() throws { try store.fold() }

  func compact() throws { _ = try store.vacuum() }

  func close() throws { try store.close() }
}
