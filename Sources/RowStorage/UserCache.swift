/// Numbers by user, a bounded number of them: the lengths of users whose rows are all in blocks, so that an append need
/// not look for the user's newest block, and the numbers that stand for users in keys. What is remembered may be wrong
/// after a change that this process did not see: whoever asks sees to it that there was none.

package import CacheTypes

/// Each user has two slots where it may stand; whoever came to them last stays.
package struct UserCache: ~Copyable {
  /// Users that are remembered at most.
  package let capacity: Int
  private static let firstCapacity = 1 << 10

  /// Byte ids are rare, and stand for themselves by their hash and their bytes.
  private struct Slot {
    var user: UserID
    var value: UInt32
  }
  private var slots: ContiguousArray<Slot?> = []
  /// Slots taken since the table last grew.
  private var used = 0

  /// - Parameter capacity: a power of two.
  package init(capacity: Int) { self.capacity = capacity }

  /// Users that are remembered.
  package var count: Int { slots.reduce(0) { $0 + ($1 == nil ? 0 : 1) } }

  package mutating func value(of user: UserID) -> UInt32? {
    guard !slots.isEmpty else { return nil }
    let first = firstSlot(of: user)
    if let slot = slots[first], slot.user == user { return slot.value }
    guard let slot = slots[first + 1], slot.user == user else { return nil }
    slots.swapAt(first, first + 1)
    return slot.value
  }

  package mutating func set(_ value: UInt32, for user: UserID) {
    if used * 2 >= slots.count, slots.count < capacity { grow() }
    insert(Slot(user: user, value: value))
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
