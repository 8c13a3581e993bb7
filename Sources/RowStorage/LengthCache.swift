/// The lengths of users whose rows are all in blocks, so that an append need not look for the user's newest block.
/// Only the writing thread asks, inside a transaction, after the overlay has seen every row that could have changed a
/// length.

package import CacheTypes

/// Lengths of users whose rows are all in blocks, a bounded number: each user has two slots where it may stand, and
/// whoever came to them last stays.
package struct LengthCache: ~Copyable {
  /// Users that are remembered at most.
  package static let capacity = 1 << 17
  private static let firstCapacity = 1 << 10

  /// Byte ids are rare, and stand for themselves by their hash and their bytes.
  private struct Slot {
    var user: UserID
    var length: UInt32
  }
  private var slots: ContiguousArray<Slot?> = []
  /// Slots taken since the table last grew.
  private var used = 0

  package init() {}

  /// Lengths that are remembered.
  package var count: Int { slots.reduce(0) { $0 + ($1 == nil ? 0 : 1) } }

  package mutating func length(of user: UserID) -> Int? {
    guard !slots.isEmpty else { return nil }
    let first = firstSlot(of: user)
    if let slot = slots[first], slot.user == user { return Int(slot.length) }
    guard let slot = slots[first + 1], slot.user == user else { return nil }
    slots.swapAt(first, first + 1)
    return Int(slot.length)
  }

  package mutating func set(_ length: Int, for user: UserID) {
    if used * 2 >= slots.count, slots.count < Self.capacity { grow() }
    insert(Slot(user: user, length: UInt32(length)))
  }

  package mutating func removeAll() {
    slots = []
    used = 0
  }

  private mutating func insert(_ slot: Slot) {
    let first = firstSlot(of: slot.user)
    if slots[first]?.user != slot.user {
      if slots[first + 1] == nil { used += 1 }
      slots[first + 1] = slots[first]
    }
    slots[first] = slot
  }

  private mutating func grow() {
    let old = slots
    slots = ContiguousArray(repeating: nil, count: max(Self.firstCapacity, old.count * 2))
    used = 0
    for slot in old.reversed() { if let slot { insert(slot) } }
  }

  @inline(__always)
  private func firstSlot(of user: UserID) -> Int { user.quickHash & (slots.count - 2) }
}
