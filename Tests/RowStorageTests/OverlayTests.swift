import CacheTypes
import RowStorage
import Testing

struct OverlayTests {
  /// A tail as the database would hold it, and what an overlay must say about it.
  struct Tail {
    var rows: [TailRow] = []
    var meta = Meta(
      generation: 1, nextSeq: 1, foldedSeq: 0, eraseEpoch: 0, isErasePending: false, positions: 0)
    var lengths: [UserID: Int] = [:]

    mutating func append(_ user: UserID, _ count: Int) -> TailRow {
      let row = TailRow(
        seq: meta.nextSeq, user: user, position: UInt32(lengths[user, default: 0]), count: UInt32(count), generation: 1)
      meta.nextSeq += 1
      lengths[user, default: 0] += count
      rows.append(row)
      return row
    }

    mutating func fold(through seq: Int64) {
      rows.removeAll { $0.seq <= seq }
      meta.foldedSeq = seq
      meta.nextSeq = max(meta.nextSeq, seq + 1)
    }

    mutating func erase(_ user: UserID) {
      rows.removeAll { $0.user == user }
      lengths[user] = nil
      meta.eraseEpoch += 1
      meta.nextSeq += 1
    }
  }

  static func advance(_ overlay: inout Overlay, to tail: Tail) throws {
    _ = try overlay.advance(
      to: tail.meta, dropped: { _ in },
      scan: { (first, body) throws(StoreError) in
        for row in tail.rows where row.seq >= first && row.seq < tail.meta.nextSeq { try body(row) }
      })
  }

  static func user(_ number: Int) -> UserID {
    number % 3 == 0 ? .bytes([UInt8(number & 255), UInt8(number >> 8 & 255)]) : .integer(Int64(number) * 0x1_0001)
  }

  @Test(arguments: 0..<40)
  func `an overlay says what the tail holds after any sequence of changes`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var tail = Tail()
    var overlay = Overlay()
    let userCount = [3, 40, 900].randomElement(using: &random)!
    for _ in 0..<60 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<6:
        let first = tail.meta.nextSeq
        var fresh: ContiguousArray<TailRow> = []
        for _ in 0..<Int.random(in: 1...120, using: &random) {
          let count = Int.random(in: 0...4, using: &random)
          fresh.append(tail.append(Self.user(Int.random(in: 0..<userCount, using: &random)), count))
        }
        if Bool.random(using: &random) { overlay.learn(fresh, from: first, nextSeq: tail.meta.nextSeq) }
      case 6..<8:
        if tail.meta.nextSeq - 1 > tail.meta.foldedSeq {
          tail.fold(through: Int64.random(in: tail.meta.foldedSeq + 1...tail.meta.nextSeq - 1, using: &random))
        }
      case 8: tail.erase(Self.user(Int.random(in: 0..<userCount, using: &random)))
      default: break
      }
      guard Int.random(in: 0..<3, using: &random) > 0 else { continue }
      try Self.advance(&overlay, to: tail)
      try check(&overlay, tail, userCount, &random)
    }
  }

  private func check(
    _ overlay: inout Overlay, _ tail: Tail, _ userCount: Int, _ random: inout SplitMix64
  ) throws {
    #expect(overlay.age(of: tail.meta) == .current)
    #expect(overlay.count == tail.rows.count)
    #expect(overlay.newestSeq == tail.rows.last?.seq)
    let limit = Int64.random(in: 0...tail.meta.nextSeq, using: &random)
    var expected: [UserID: [TailRow]] = [:]
    for row in tail.rows { expected[row.user, default: []].append(row) }
    for number in 0..<min(userCount, 60) {
      let user = Self.user(number)
      let rows = expected[user, default: []]
      #expect(overlay.newest(of: user)?.seq == rows.last?.seq)
      let beyond = Int.random(in: -1...6, using: &random)
      let found = overlay.rows(of: user, below: limit, endingBeyond: beyond).map(\.seq)
      #expect(found == rows.filter { $0.seq < limit && $0.end > beyond }.map(\.seq))
    }
    let early = Set(tail.rows.filter { $0.seq <= limit }.map(\.user))
    #expect(overlay.users(through: limit) == early.sorted())
    #expect(overlay.users() == expected.keys.sorted())
  }

  @Test func `thousands of users and rows are found and forgotten`() throws {
    var tail = Tail()
    var overlay = Overlay()
    for round in 0..<6 {
      for number in 0..<3_000 { _ = tail.append(Self.user(number * (round + 1)), 1) }
      try Self.advance(&overlay, to: tail)
      #expect(overlay.count == tail.rows.count)
      tail.fold(through: tail.meta.nextSeq - 1_500)
    }
    try Self.advance(&overlay, to: tail)
    #expect(overlay.count == 1_499)
    tail.fold(through: tail.meta.nextSeq - 1)
    try Self.advance(&overlay, to: tail)
    #expect(overlay.count == 0)
    #expect(overlay.users() == [])
    #expect(overlay.newestSeq == nil)
  }

  @Test func `a snapshot's age follows from folds, erasures and the next number`() throws {
    var tail = Tail()
    var overlay = Overlay()
    _ = tail.append(.integer(1), 2)
    let early = tail.meta
    #expect(overlay.age(of: early) == .newer)
    try Self.advance(&overlay, to: tail)
    _ = tail.append(.integer(1), 2)
    try Self.advance(&overlay, to: tail)
    #expect(overlay.age(of: early) == .current)
    tail.fold(through: 1)
    #expect(overlay.age(of: tail.meta) == .newer)
    try Self.advance(&overlay, to: tail)
    #expect(overlay.age(of: early) == .older)
    tail.erase(.integer(9))
    #expect(overlay.age(of: tail.meta) == .newer)
    let folded = tail.meta
    try Self.advance(&overlay, to: tail)
    #expect(overlay.age(of: folded) == .current)
    #expect(overlay.age(of: early) == .older)
  }

  @Test func `rows that a reader has scanned already are not learnt twice`() throws {
    var tail = Tail()
    var overlay = Overlay()
    let row = tail.append(.integer(1), 2)
    try Self.advance(&overlay, to: tail)
    overlay.learn([row], from: 1, nextSeq: 2)
    #expect(overlay.count == 1)
    overlay.learn([tail.append(.integer(1), 1)], from: 2, nextSeq: 3)
    #expect(overlay.rows(of: .integer(1), below: .max, endingBeyond: 0).map(\.end) == [2, 3])
  }

  @Test func `a cache of users keeps recent ones, stays bounded and is never wrong`() {
    let capacity = 1 << 15
    var cache = UserCache(capacity: capacity)
    let users: [UserID] = (0..<capacity * 2).map { number in
      if number % 9 != 0 { return .integer(Int64(number) * 3) }
      return .bytes((0..<3).map { UInt8(number >> ($0 * 8) & 255) })
    }
    var lengths: [UserID: Int] = [:]
    for (number, user) in users.enumerated() {
      lengths[user] = number
      cache.set(UInt32(number), for: user)
      if number % 97 == 0 { #expect(cache.value(of: user) == UInt32(number)) }
    }
    #expect(cache.count <= capacity)
    var found = 0
    for user in users.suffix(capacity / 4) {
      guard let length = cache.value(of: user) else { continue }
      #expect(Int(length) == lengths[user])
      found += 1
    }
    #expect(found * 5 >= capacity / 4 * 4, "\(found) of \(capacity / 4)")
    cache.set(6, for: users[0])
    #expect(cache.value(of: users[0]) == 6)
    #expect(cache.value(of: .integer(-1)) == nil)
    cache.removeAll()
    #expect(cache.value(of: users[0]) == nil)
  }
}
