/// Every file of a store, bit by bit and length by length: a damaged store answers rightly or not at all.
/// CKVDB_FLIPS and CKVDB_CUT_LENGTHS say how many; `all` means every bit of every file, and every length.

import CollectiveKV
import Foundation
import Synchronization
import Testing

struct SweepTests {
  private static let threadCount = 2

  /// Cases of a sweep by number; `nil` means all there are.
  private static func limit(_ variable: String, quick: Int) -> Int? {
    guard let text = ProcessInfo.processInfo.environment[variable] else { return quick }
    return text == "all" ? nil : Int(text) ?? quick
  }

  /// Runs numbered cases on threads, each with a store of its own.
  private static func sweep(
    _ count: Int, _ body: @escaping @Sendable (Int, SweptStore, inout SweepTally) throws -> Void
  ) throws -> SweepTally {
    let total = Mutex(SweepTally())
    let next = Atomic(0)
    let failure = Mutex<(any Error)?>(nil)
    let group = DispatchGroup()
    for _ in 0..<threadCount {
      DispatchQueue.global().async(group: group) {
        do {
          let store = try SweptStore()
          var tally = SweepTally()
          while true {
            let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard number < count else { break }
            try body(number, store, &tally)
          }
          #expect(try store.isRestored)
          total.withLock { $0.add(tally) }
        } catch {
          failure.withLock { $0 = error }
        }
      }
    }
    group.wait()
    if let failure = failure.withLock({ $0 }) { throw failure }
    return total.withLock { $0 }
  }

  @Test func `the store that is swept has rows of every kind and answers rightly`() throws {
    let swept = try SweptStore()
    #expect(swept.outcome(damaging: "") == .harmless)
    #expect(try swept.isRestored)
    #expect(swept.outcome(damaging: "", isWriting: true) == .harmless)
    try swept.restore()
    #expect(try swept.isRestored)
    let store = try CacheStore.open(at: swept.path, options: .init(access: .readOnly))
    let statistics = try store.statistics()
    #expect(statistics.tailRows > 10 && statistics.blockRows > 8 && statistics.users == SweptStore.users.count)
    #expect(statistics.element == .i8 && statistics.keepsItems && statistics.keepsTimestamps)
    #expect(swept.files.count >= 3)
    try store.close()
  }

  @Test func `a store that lost or gained anything is noticed`() throws {
    let swept = try SweptStore()
    let log = try #require(swept.files.firstIndex { $0.name.hasSuffix("-wal") })
    try swept.cut(log, to: 0)
    let commits = swept.states.count - 1
    #expect(swept.outcome(damaging: swept.files[log].name) == .rolledBack(commits))
    #expect(swept.outcome(damaging: "users.sqlite") == .wrong("\(commits) commits are gone"))
    try swept.restore()
    func changing(_ change: (CacheStore) throws -> Void) throws -> SweptStore.Outcome {
      let store = try CacheStore.open(at: swept.path, options: .init(durability: .normal))
      try change(store)
      try store.close()
      defer { try? swept.restore() }
      return swept.outcome(damaging: "users.sqlite-wal")
    }
    let gained = try changing { try $0.append(user: 2, items: [1], timestamps: [1]) }
    #expect(gained == .wrong("answers that the store never gave"))
    let deleted = try changing { _ = try $0.delete(user: 2) }
    #expect(deleted == .wrong(" user 2 is unknown;"))
    let stranger = try changing { try $0.append(user: 77, items: [1], timestamps: [1]) }
    #expect(stranger == .wrong("a list of users that the store never had"))
  }

  @Test func `a flipped bit in any file is an error or changes nothing`() throws {
    let sizes = try SweptStore().files.map(\.bytes.count)
    let bitCount = sizes.reduce(0, +) * 8
    let limit = Self.limit("CKVDB_FLIPS", quick: 20_000)
    let tally = try Self.sweep(min(limit ?? bitCount, bitCount)) { number, store, tally in
      // Numbers without a common factor with the bits' come by every bit once.
      var (file, place) = (0, limit == nil ? number : Int((UInt64(number) &* 2_654_435_761) % UInt64(bitCount)))
      while place >= sizes[file] * 8 { (file, place) = (file + 1, place - sizes[file] * 8) }
      let (byte, bit) = (place / 8, place % 8)
      let name = store.files[file].name
      try store.flip(file, byte: byte, bit: bit)
      let isWriting = number % 16 == 7
      tally.add(store.outcome(damaging: name, isWriting: isWriting), "\(name), byte \(byte), bit \(bit)")
      try isWriting ? store.restore() : store.unflip(file, byte: byte)
    }
    #expect(tally.wrong.isEmpty, "\(tally.wrong.prefix(10).joined(separator: "\n"))")
    print("single-bit flips over the whole store: \(tally.text)")
  }

  @Test func `a file cut at any length is an error or changes nothing`() throws {
    // What every length is for: the file's header, and its last 64 KiB.
    let (headerByteCount, endByteCount) = (512, 65_536)
    var headers: [(file: Int, length: Int)] = []
    var others: [(file: Int, length: Int)] = []
    for (file, content) in try SweptStore().files.enumerated() {
      let size = content.bytes.count
      let end = max(min(headerByteCount, size), size - endByteCount)
      headers += (0..<min(headerByteCount, size)).map { (file, $0) }
      others += (end..<size).map { (file, $0) }
    }
    let limit = Self.limit("CKVDB_CUT_LENGTHS", quick: 4_000)
    let (cuts, rest) = (headers, others)
    let tally = try Self.sweep(min(limit ?? .max, cuts.count + rest.count)) { number, store, tally in
      let place = number - cuts.count
      let (file, length) =
        place < 0
        ? cuts[number] : rest[limit == nil ? place : Int((UInt64(place) &* 2_654_435_761) % UInt64(rest.count))]
      let name = store.files[file].name
      try store.cut(file, to: length)
      let isWriting = number % 16 == 7
      tally.add(store.outcome(damaging: name, isWriting: isWriting), "\(name) cut to \(length) bytes")
      try isWriting ? store.restore() : store.uncut(file, from: length)
    }
    #expect(tally.wrong.isEmpty, "\(tally.wrong.prefix(10).joined(separator: "\n"))")
    print("truncations of every file: \(tally.text)")
  }
}
