/// Histories of several users: what was appended, position by position, in the order of arrival.

import CollectiveKV

struct Histories: Sendable {
  let reference: Reference
  let element: ElementType
  var users: [UserID]
  var events: [UserID: [Event]] = [:]

  /// Random histories, some of them empty.
  init(
    _ reference: Reference, _ element: ElementType, users count: Int, lengthLimit: Int, _ random: inout SeededRandom
  ) {
    self.reference = reference
    self.element = element
    users = (0..<count).map { _ in Self.user(&random) }
    for user in users {
      events[user] = reference.events(random.chance(15) ? 0 : 1 + random.below(lengthLimit), &random)
    }
  }

  /// Integers of both signs, and byte strings, short and long ones.
  static func user(_ random: inout SeededRandom) -> UserID {
    if random.chance(60) { return .integer(Int64(random.below(1 << 20)) - 1 << 19) }
    let count = random.chance(10) ? UserID.byteCountLimit : random.below(12)
    return .bytes((0..<count).map { _ in UInt8(random.below(256)) })
  }

  /// What a store must return of a user.
  func kept(_ user: UserID) -> [Kept] { events[user, default: []].map { reference.kept($0, as: element) } }

  /// What differs between the store and these histories.
  func difference(_ store: CacheStore) throws -> String? {
    for user in Set(users) {
      let expected = kept(user)
      if expected.isEmpty {
        guard thrown({ () throws(StoreError) in _ = try store.length(of: user) }) == .unknownUser(user) else {
          return "user \(user) has rows"
        }
      } else if let found = try CollectiveKVTests.difference(store, user, expected, reference) {
        return "user \(user): \(found)"
      }
    }
    return nil
  }

  /// One request for a stretch of a user's history.
  func request(_ user: UserID, _ positions: Range<Int>, expecting position: Int? = nil) -> AppendRequest {
    AppendRequest(events[user]![positions], user: user, expecting: position)
  }
}

extension AppendRequest {
  /// A request that brings everything that any store may need.
  init(_ events: some Sequence<Event>, user: UserID, expecting position: Int? = nil) {
    let events = Array(events)
    self.init(
      user: user, source: .embeddings(events.flatMap { $0.embeddings.flatMap { $0 } }), items: events.map(\.item),
      timestamps: events.map(\.timestamp), expectedPosition: position)
  }
}
