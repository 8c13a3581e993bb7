/// The shapes of a model: what each layer's keys and values are made of. A store's rows can be decoded from these
/// numbers alone, without the pool.

/// The key side or the value side of one layer.
public struct PartShape: Hashable, Sendable {
  /// d_u: numbers a user keeps per position; 0 if everything is shared.
  public var userWidth: Int
  /// d_g: width of a pool row.
  public var poolWidth: Int
  /// m: rows of the pool.
  public var poolRows: Int
  /// Whether a basis maps the user part into the pool's width (K = P[I] + u B^T) instead of standing before it.
  public var isAdditive: Bool
  /// Whether a router of its own chooses the pool row.
  public var hasRouter: Bool

  public init(userWidth: Int, poolWidth: Int, poolRows: Int, isAdditive: Bool, hasRouter: Bool) {
    self.userWidth = userWidth
    self.poolWidth = poolWidth
    self.poolRows = poolRows
    self.isAdditive = isAdditive
    self.hasRouter = hasRouter
  }

  /// d_k or d_v: width of the reconstructed key or value.
  public var width: Int { isAdditive ? poolWidth : userWidth + poolWidth }

  /// Bits of one pool index: ceil(log2 m).
  package var indexBits: Int { poolRows <= 1 ? 0 : Int.bitWidth - (poolRows - 1).leadingZeroBitCount }
}

/// One attention layer.
public struct LayerShape: Hashable, Sendable {
  public var key: PartShape
  /// `nil` for a key-only layer (search keys).
  public var value: PartShape?
  public var heads: Int

  public init(key: PartShape, value: PartShape?, heads: Int) {
    self.key = key
    self.value = value
    self.heads = heads
  }

  /// Whether values use the keys' pool indices.
  public var sharesRouter: Bool { value.map { !$0.hasRouter } ?? false }
  /// Whether the key's pool index is the item's id.
  public var isInterned: Bool { !key.hasRouter }
  /// Whether rows hold value indices of their own.
  package var storesValueIndices: Bool { value?.hasRouter ?? false }
}

/// All layers of a model.
public struct ModelShape: Hashable, Sendable {
  /// d_e: width of an embedding; 0 if no layer encodes anything and the model brings no item embeddings.
  public var embeddingWidth: Int
  public var layers: [LayerShape]

  public init(embeddingWidth: Int, layers: [LayerShape]) {
    self.embeddingWidth = embeddingWidth
    self.layers = layers
  }

  /// Whether some layer's key index is the item id, so that every append needs items.
  public var needsItems: Bool { layers.contains(where: \.isInterned) }

  /// Numbers that the full K and V of one position hold, over all layers.
  public var fullWidth: Int { layers.reduce(0) { $0 + $1.key.width + ($1.value?.width ?? 0) } }
  /// Numbers of the user parts of one position, over all layers.
  public var userWidth: Int { layers.reduce(0) { $0 + $1.key.userWidth + ($1.value?.userWidth ?? 0) } }
  /// Bits of the pool indices of one position, over all layers.
  public var indexBits: Int {
    layers.reduce(0) { $0 + $1.key.indexBits + ($1.storesValueIndices ? $1.value!.indexBits : 0) }
  }
}
