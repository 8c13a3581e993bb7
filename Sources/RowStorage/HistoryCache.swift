/// Decoded histories of users that were read lately, so that the next read of one needs neither SQLite nor the codec.
/// It is kept right by whoever changes the overlay, under the same lock: see `RowStore.refresh`. A history found here
/// may have grown since: the overlay lists the rows that came after it.

internal import CacheTypes

/// Positions of one user as they were decoded once. Never changed, so any number of threads may read it.
final class KeptHistory: Sendable {
  /// The user's length in the snapshot that it was read from.
  let length: Int
  let positions: Range<Int>
  /// The layers whose columns are filled.
  let layers: Range<Int>
  let entries: Entries
  /// The snapshot's `next_seq`: older snapshots must not see this.
  let nextSeq: Int64

  init(_ rows: UserRows, layers: Range<Int>, nextSeq: Int64) {
    length = rows.length
    positions = rows.positions
    entries = rows.entries
    self.layers = layers
    self.nextSeq = nextSeq
  }

  /// Bytes of the columns, and of what surrounds them.
  var byteCount: Int { entries.byteCount + 512 }
}

/// Owns the histories, a bounded number of bytes of them. When there is no room, those that were not asked for since
/// the hand last passed go first.
struct HistoryCache: ~Copyable {
  private struct Slot {
    var user: UserID
    var history: KeptHistory
    var wasUsed = false
  }

  /// Bytes that may be kept.
  private(set) var byteLimit: Int
  private(set) var byteCount = 0
  /// Moves whenever a history that is being decoded now might be wrong when it is done.
  private(set) var epoch = 0
  private var slots: [Slot] = []
  private var places: [UserID: Int] = [:]
  private var hand = 0

  init(byteLimit: Int) { self.byteLimit = byteLimit }

  /// The longest history that is worth its room.
  var historyByteLimit: Int { byteLimit / 8 - 512 }

  var count: Int { slots.count }

  mutating func setLimit(_ byteLimit: Int) {
    self.byteLimit = byteLimit
    makeRoom(for: 0)
  }

  mutating func history(of user: UserID) -> KeptHistory? {
    guard let place = places[user] else { return nil }
    slots[place].wasUsed = true
    return slots[place].history
  }

  /// Keeps a history in place of what was known of the user.
  mutating func insert(_ history: KeptHistory, of user: UserID) {
    remove(user)
    let added = history.byteCount
    guard added <= byteLimit else { return }
    makeRoom(for: added)
    places[user] = slots.count
    slots.append(Slot(user: user, history: history))
    byteCount += added
  }

  /// Takes note of a tail row that is in blocks now. What was decoded before the row came ends too soon.
  ///
  /// - Parameter changesNumbers: whether blocks hold other numbers than the tail did.
  mutating func noteFolded(_ row: TailRow, changesNumbers: Bool) {
    epoch += 1
    guard let place = places[row.user], changesNumbers || row.end > slots[place].history.length else { return }
    remove(row.user)
  }

  mutating func removeAll() {
    epoch += 1
    guard !slots.isEmpty else { return }
    slots = []
    places = [:]
    byteCount = 0
    hand = 0
  }

  // MARK: Inside

  private mutating func makeRoom(for added: Int) {
    while byteCount + added > byteLimit, !slots.isEmpty {
      if hand >= slots.count { hand = 0 }
      if slots[hand].wasUsed {
        slots[hand].wasUsed = false
        hand += 1
      } else {
        remove(slots[hand].user)
      }
    }
  }

  /// The last slot moves into the place that becomes free.
  private mutating func remove(_ user: UserID) {
    guard let place = places.removeValue(forKey: user) else { return }
    byteCount -= slots[place].history.byteCount
    slots.swapAt(place, slots.count - 1)
    slots.removeLast()
    if place < slots.count { places[slots[place].user] = place }
  }
}
