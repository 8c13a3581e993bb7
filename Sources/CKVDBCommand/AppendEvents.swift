/// Gathers events into requests: those of one user inside a batch become one. It checks items against the model and
/// keeps, where repeats are to be skipped, how far each user has come in the stream.

internal import CacheTypes
package import CollectiveKV

package struct EventBatch {
  package private(set) var eventCount = 0
  package var isEmpty: Bool { eventCount == 0 }

  private var places: [UserID: Int] = [:]
  private var gathered: [(user: UserID, items: [Int64], timestamps: [Int64])] = []

  package init() {}

  package mutating func add(_ event: Event) {
    eventCount += 1
    let place: Int
    if let known = places[event.user] {
      place = known
    } else {
      place = gathered.count
      places[event.user] = place
      gathered.append((event.user, [], []))
    }
    gathered[place].items.append(event.item)
    if let timestamp = event.timestamp { gathered[place].timestamps.append(timestamp) }
  }

  /// One request per user, in the order of their first events.
  package func requests() -> [AppendRequest] {
    gathered.map { user, items, timestamps in
      AppendRequest(user: user, source: .itemEmbeddings(items), timestamps: timestamps.isEmpty ? nil : timestamps)
    }
  }

  /// How many events each request holds.
  var requestCounts: [Int] { gathered.map(\.items.count) }

  package mutating func removeAll() {
    eventCount = 0
    places.removeAll(keepingCapacity: true)
    gathered.removeAll(keepingCapacity: true)
  }
}

/// How far each user has come, and what the store already had: numbers the positions of a stream that starts at the
/// beginning of every history.
struct ReplayCounter {
  private var next: [UserID: Int] = [:]
  private var stored: [UserID: Int] = [:]
  private(set) var skipped = 0

  /// States the position that each request starts at, and counts the positions that are stored already.
  mutating func number(_ requests: inout [AppendRequest], counts: [Int], _ store: CacheStore) throws(StoreError) {
    for index in requests.indices {
      let user = requests[index].user
      let first = next[user] ?? 0
      let length: Int
      if let known = stored[user] {
        length = known
      } else {
        length = try store.lengthOrZero(of: user)
        stored[user] = length
      }
      requests[index].expectedPosition = first
      next[user] = first + counts[index]
      skipped += max(0, min(length - first, counts[index]))
    }
  }
}
