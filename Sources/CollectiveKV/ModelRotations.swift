/// The rotations that come with a store's model, layer by layer, widened when a call first hashes with them. What the
/// runtime keeps beside them for later calls goes with them, and so with the store.

internal import KVRuntime
internal import PoolStorage
internal import Synchronization

/// Any thread may use it at any time.
final class ModelRotations: Sendable {
  /// Bytes that all layers' tables take at most; those of a call's own rotations, too.
  static let tableByteLimit = 32 << 20

  private struct Place: Hashable {
    var layer: Int
    var isGrouped: Bool
  }

  private let made = Mutex<[Place: HashRotations]>([:])
  private let budget = HashTableBudget(byteLimit: ModelRotations.tableByteLimit)

  /// One layer's rotations for `sdim`, which come in groups, or for `simhash`; `nil` if the model has none.
  ///
  /// - Precondition: the layer's checksums were verified.
  /// - Throws: `StoreError.invalidInput` for rotations that no call may bring either.
  func rotations(_ model: Model, layer: Int, isGrouped: Bool) throws(StoreError) -> HashRotations? {
    let own = model.rotations[layer]
    guard let tensor = isGrouped ? own.sdim : own.simhash else { return nil }
    return try made.withLock { (made) throws(StoreError) in
      let place = Place(layer: layer, isGrouped: isGrouped)
      if let rotations = made[place] { return rotations }
      let shape = tensor.shape.dropLast()
      let rotations = try HashRotations(
        values: tensor.floats(), groups: shape.count > 1 ? shape[0] : 1, bits: shape.last ?? 0,
        keys: model.shape.layers[layer].key, model.layers[layer].key, budget: budget)
      made[place] = rotations
      return rotations
    }
  }
}
