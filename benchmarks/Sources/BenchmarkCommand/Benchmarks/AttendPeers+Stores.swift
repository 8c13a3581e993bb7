/// The stores that attention is compared from, all with the same users: ckvdb once per number of heads, which a model
/// fixes, and every peer once.

import CollectiveKV

extension AttendPeersBenchmark {
  final class Stores {
    static let heads = [1, 4]
    /// 1e-5 of the pool's largest value: an output is a mean of values, whose rounding does not shrink as the mean
    /// does.
    private static let tolerance: Float = 1e-5 * 0.125
    private(set) var ours: [Int: CKVDBEngine] = [:]
    let lmdb: LMDBFull
    private(set) var peers: [any FullCache]

    init(_ directory: String, _ what: Case, _ byteCount: Int) throws {
      lmdb = try LMDBFull(path: directory + "/lmdb", byteCount: byteCount)
      peers = [
        lmdb, try RocksDBFull(path: directory + "/rocksdb", byteCount: byteCount),
        try SQLiteFull(path: directory + "/sqlite", byteCount: byteCount),
      ]
      var rows: FullRows?
      for heads in Self.heads {
        let engine = try Self.engine(directory, what, heads: heads, poolRows: 1_024) { rows = FullRows(pools: $0) }
        ours[heads] = engine
      }
      for peer in peers { try peer.load(what.population, rows!) }
    }

    /// A store of ckvdb with the users of a case.
    static func engine(
      _ directory: String, _ what: Case, heads: Int, poolRows: Int,
      _ pools: ((keys: [UInt16], values: [UInt16])) -> Void = { _ in }
    ) throws -> CKVDBEngine {
      let name = "\(directory)/\(heads)-\(poolRows)"
      pools(
        try ModelFile(poolRows: poolRows, heads: heads).write(to: name + ".safetensors", seed: what.options.seed))
      let engine = try CKVDBEngine(path: name + ".ckv", model: name + ".safetensors")
      try engine.load(what.population, poolRows: poolRows)
      return engine
    }

    /// Every engine gives the same output for every head count; also brings all users of all peers into memory.
    func agree(_ what: Case) throws {
      let query = what.queries[0]
      let sample = Set((0..<5).map { $0 * (what.population.count - 1) / 4 })
      for heads in Self.heads {
        let attention = FullAttention(count: what.length, heads: heads)
        for (place, user) in what.population.ids.enumerated() where heads == 1 || sample.contains(place) {
          let wanted = sample.contains(place) ? try ours[heads]!.store.attend(query, user: .integer(user)) : []
          for peer in peers {
            try peer.read(user) { attention.attend(query, $0) }
            let difference = wanted.indices.map { abs(wanted[$0] - attention.output[$0]) }.max() ?? 0
            guard difference <= Self.tolerance else {
              throw BenchmarkError("\(peer.name): user \(user)'s output is off by \(difference)")
            }
          }
        }
      }
    }

    func closePeers() throws {
      for peer in peers { try peer.close() }
      peers = []
    }

    func closeOurs() throws {
      for heads in Self.heads { try ours[heads]?.close() }
      ours = [:]
    }
  }
}
