/// Whether a payload is one that the store would write: what verify asks of every row of every generation, also of
/// models that this store does not serve, whose shapes nothing else was held against. It allocates nothing on the word
/// of a row alone.

internal import CacheTypes

extension RowCodec {
  /// Unpacks a payload of `count` positions, 1 or more.
  ///
  /// - Throws: `StoreError.damaged` if the payload is none of `count` positions, or holds a number that is not finite,
  ///   which no append lets in.
  func check(_ payload: UnsafeRawBufferPointer, count: Int) throws(StoreError) {
    guard count <= RowStore.rowCountLimit else { throw .damaged("payload: \(count) positions in a row") }
    guard unsafe canHold(count, in: payload) else { throw .damaged("payload: not that of \(count) positions") }
    var entries = Entries(zeroed: layout.shape, count: count)
    try unsafe unpack(
      payload, count: count, range: 0..<count, wanted: 0..<entries.layers.count, into: &entries, at: 0,
      place: "payload")
    for (number, layer) in entries.layers.enumerated() {
      guard layer.keyUser.allSatisfy(\.isFinite), layer.valueUser.allSatisfy(\.isFinite) else {
        throw .damaged("payload: a number of layer \(number) is not finite")
      }
    }
  }
}
