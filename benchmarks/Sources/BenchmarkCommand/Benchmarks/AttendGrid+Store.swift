/// A store of one shape of the grid, filled with random entries, and the copy of full keys and values that its times
/// stand beside.

import CFullAttend
import CollectiveKV
import Glibc

extension AttendGridBenchmark {
  /// What a store is made for.
  struct Shape: Hashable {
    /// n, m, d.
    var length = 1_000
    var poolRows = 1_024
    var width = 256
    /// No user part; indices are items.
    var isInterned = false
    var hasFloatPools = false
    var hasByteUserPart = false

    /// Bytes of one user's full f16 keys and values.
    var fullByteCount: Int { length * width * 4 }
    var userWidth: Int { isInterned ? 0 : 2 }

    var label: String {
      var label = "n = \(length), m = \(poolRows), d = \(width)"
      if isInterned { label += ", interned" }
      if hasFloatPools { label += ", f32 pools" }
      if hasByteUserPart { label += ", i8 user part" }
      return label
    }
  }

  /// Used by one thread.
  final class ShapeStore {
    let shape: Shape
    let store: CacheStore
    let population: Population
    private let full: UnsafeMutableRawPointer
    private let copy: UnsafeMutableRawPointer

    init(_ directory: String, _ shape: Shape, _ options: Options) throws {
      self.shape = shape
      let model = ModelFile(
        width: shape.width, userWidth: shape.userWidth, poolRows: shape.poolRows, hasFloatPools: shape.hasFloatPools,
        isInterned: shape.isInterned, hasFunctions: true)
      try model.write(to: directory + "/model.safetensors", seed: options.seed)
      store = try CacheStore.create(
        at: directory + "/grid.ckv", model: directory + "/model.safetensors",
        options: CreateOptions(element: shape.hasByteUserPart ? .i8 : .f16))
      let users = AttendGridBenchmark.setByteCount(options) / shape.fullByteCount + 1
      population = Population(users: users, .equal(shape.length), seed: options.seed)
      full = .allocate(byteCount: users * shape.fullByteCount, alignment: 4_096)
      copy = .allocate(byteCount: shape.fullByteCount, alignment: 4_096)
      memset(full, 1, users * shape.fullByteCount)
      memset(copy, 1, shape.fullByteCount)
      try fill()
    }

    deinit { full.deallocate(); copy.deallocate() }

    func close() throws { try store.close() }

    private func fill() throws {
      var random = SplitMix(seed: 0x6772_6964)
      var (batch, positions) = ([AppendRequest](), 0)
      for user in population.ids {
        let entries = Self.entries(shape, &random)
        batch.append(AppendRequest(user: .integer(user), source: .entries(entries)))
        positions += shape.length
        guard positions >= 100_000 || user == population.ids.last else { continue }
        try store.append(batch)
        (batch, positions) = ([], 0)
      }
      _ = try store.vacuum()
    }

    /// Pool rows are used uniformly.
    private static func entries(_ shape: Shape, _ random: inout SplitMix) -> Entries {
      var layer = LayerEntries()
      layer.keyIndices = (0..<shape.length).map { _ in UInt32(random.below(shape.poolRows)) }
      if !shape.isInterned {
        layer.valueIndices = (0..<shape.length).map { _ in UInt32(random.below(shape.poolRows)) }
      }
      let count = shape.length * shape.userWidth
      layer.keyUser = (0..<count).map { _ in Float(random.unit() - 0.5) }
      layer.valueUser = (0..<count).map { _ in Float(random.unit() - 0.5) }
      return Entries(count: shape.length, layers: [layer])
    }

    /// Copies a user's full keys and values.
    func copyFull(_ place: Int) {
      memcpy(copy, full + place * shape.fullByteCount, shape.fullByteCount)
      BlackHole.take(UInt64(copy.load(as: UInt8.self)))
    }

    /// Softmax over the reconstructed keys and values gives what the store gives, one query; reads every user once.
    func check(_ query: [Float]) throws {
      for user in population.ids { _ = try store.attend(query, user: .integer(user)) }
      let (length, width) = (shape.length, shape.width)
      let user = UserID.integer(population.ids[population.count / 2])
      let rows = UnsafeMutableRawBufferPointer.allocate(byteCount: length * width * 8, alignment: 64)
      defer { rows.deallocate() }
      let keys = UnsafeMutableRawBufferPointer(rebasing: rows[..<(rows.count / 2)])
      let values = UnsafeMutableRawBufferPointer(rebasing: rows[(rows.count / 2)...])
      try store.reconstruct(
        user: user, layer: 0, keys: RowDestination(keys, element: .f32), values: RowDestination(values, element: .f32))
      var (scores, expected) = ([Float](repeating: 0, count: length), [Float](repeating: 0, count: width))
      full_attend(
        FULL_F32, keys.baseAddress, values.baseAddress, length, width, 1, query, Float(1 / sqrt(Double(width))),
        &scores, &expected)
      let output = try store.attend(query, user: user)
      let difference = zip(output, expected).map { abs($0 - $1) }.max() ?? 0
      guard output.count == width, difference <= 1e-5 * 0.5 else {
        throw BenchmarkError("\(shape.label): an output is off by \(difference)")
      }
    }
  }
}
