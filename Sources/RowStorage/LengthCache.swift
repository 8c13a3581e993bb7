/// The lengths of users whose rows are all in blocks, so that an append need not look for the user's newest block.
/// Only the writing thread asks, inside a transaction, after the overlay has seen every row that could have changed a
/// length.

package import CacheTypes

/// Lengths of users whose rows are all in blocks: the most recently used ones, a bounded number.
package struct LengthCache: ~Copyable {
  package static let capacity = 1 << 15
  private var young: [UserID: UInt32] = [:]
  private var old: [UserID: UInt32] = [:]

  package init() {}

  /// Lengths that are remembered: at most twice the capacity.
  package var count: Int { young.count + old.count }

  package mutating func length(of user: UserID) -> Int? {
    if let length = young[user] { return Int(length) }
    guard let length = old[user] else { return nil }
    set(Int(length), for: user)
    return Int(length)
  }

  package mutating func set(_ length: Int, for user: UserID) {
    if young.count >= Self.capacity {
      old = young
      young = [:]
    }
    young[user] = UInt32(length)
  }

  package mutating func removeAll() {
    young = [:]
    old = [:]
  }
}
