/// Only the owner can read a store's files, and what was deleted is in none of them.

import CollectiveKV
import Foundation
import Testing

struct PrivacyTests {
  private let directory: TemporaryDirectory
  private let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file("shop.ckv")
  }

  // MARK: Permissions

  @Test(arguments: [0o000, 0o022, 0o777])
  func `only the owner can enter the store and read its files, whatever the umask`(mask: Int) throws {
    let model = directory.file("model.safetensors")
    try TestModel.mixed.write(to: model)
    let worker = try WorkerProcess()
    #expect(try worker.ask("umask \(mask)").hasPrefix("ok"))
    let orders = [
      "create \(path) \(model)", "append refuse 1::1:300 2::2:3", "fold", "append refuse 1::9:2", "delete 2",
      "vacuum f32", "append refuse 2::3:4", "vacuum 8192", "close", "open \(path)", "append refuse 1::9:2",
    ]
    var seen: Set<String> = []
    for order in orders {
      let answer = try worker.ask(order)
      #expect(answer.hasPrefix("ok"), "\(order): \(answer)")
      #expect(try permissions(of: path) == 0o700, "\(order)")
      for name in try FileManager.default.contentsOfDirectory(atPath: path) {
        #expect(try permissions(of: "\(path)/\(name)") == 0o600, "\(order): \(name)")
        seen.insert(name.hasPrefix("pool-") ? "pool" : name)
      }
    }
    #expect(
      seen.isSuperset(of: ["pool", "users.sqlite", "users.sqlite-wal", "users.sqlite-shm", "watermark"]))
  }

  @Test func `a umask that takes the owner's own rights keeps nobody from a store`() throws {
    let model = directory.file("model.safetensors")
    try TestModel.mixed.write(to: model)
    #expect(chmod(directory.path, 0o777) == 0 && chmod(model, 0o644) == 0)
    let worker = try WorkerProcess()
    // Whoever may do anything is kept out by no mode.
    for order in [
      "become 65534", "umask \(0o777)", "create \(path) \(model)", "append refuse 1::1:3", "vacuum", "close",
    ] {
      let answer = try worker.ask(order)
      #expect(answer.hasPrefix("ok"), "\(order): \(answer)")
    }
    #expect(try permissions(of: path) == 0o700)
    for name in try FileManager.default.contentsOfDirectory(atPath: path) {
      #expect(try permissions(of: "\(path)/\(name)") == 0o600, "\(name)")
    }
  }

  // MARK: Erasing

  /// The files of the store that hold the bytes.
  private func files(with marker: [UInt8]) throws -> [String] {
    let needle = Data(marker)
    return try FileManager.default.contentsOfDirectory(atPath: path).sorted().filter { name in
      try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)")).range(of: needle) != nil
    }
  }

  private func marker(_ random: inout SeededRandom) -> [UInt8] { (0..<32).map { _ in UInt8(random.below(256)) } }

  /// Appends to marked users and to others in between, so that pages fill and split.
  private func fill(_ store: CacheStore, _ markers: [[UInt8]], _ random: inout SeededRandom) throws {
    for _ in 0..<6 {
      for (place, marker) in markers.enumerated() {
        let count = random.chance(10) ? 120 : 1 + random.below(20)
        let other = UserID.bytes([UInt8(place % 256)] + (0..<31).map { _ in UInt8(random.below(256)) })
        try store.append([
          AppendRequest(user: .bytes(marker), source: .embeddings(random.numbers(6 * count))),
          AppendRequest(user: other, source: .embeddings(random.numbers(6))),
        ])
      }
      if random.chance(30) { try store.fold() }
    }
  }

  @Test(arguments: 1...6)
  func `a deleted user's id is in no file of the store`(seed: Int) throws {
    var random = SeededRandom(seed)
    let store = try directory.makeStore(.plain, .init(pageByteCount: 4_096, durability: .normal))
    let markers = (0..<40).map { _ in marker(&random) }
    try fill(store, markers, &random)
    for marker in markers { #expect(try files(with: marker) != [], "the marker is nowhere to begin with") }
    for (place, marker) in markers.shuffled(using: &random).enumerated() {
      let length = try store.length(of: .bytes(marker))
      let report = try store.delete(user: .bytes(marker))
      #expect(report.positions == length)
      #expect(!report.isErasurePending)
      for part in [marker, Array(marker[..<16]), Array(marker[16...])] {
        #expect(try files(with: part) == [], "seed \(seed), user \(place)")
      }
      #expect(throws: StoreError.unknownUser(.bytes(marker))) { _ = try store.length(of: .bytes(marker)) }
      if place == 20 { try store.fold() }
    }
    try store.close()
    for marker in markers { #expect(try files(with: marker) == [], "seed \(seed), closed") }
  }

  @Test func `an erasure that somebody's snapshot holds up is finished at the next opportunity`() throws {
    var random = SeededRandom(7)
    let store = try directory.makeStore(.plain, .init(pageByteCount: 4_096, durability: .normal))
    let markers = (0..<4).map { _ in marker(&random) }
    try fill(store, markers, &random)
    let reader = try CacheStore.open(at: path)
    func deleteBesideASnapshot(_ marker: [UInt8]) throws {
      var isPending: Bool?
      try reader.forEachHistory { history in
        if isPending == nil { isPending = try store.delete(user: .bytes(marker)).isErasurePending }
        if history.user == .bytes(marker) { #expect(history.length > 0, "the snapshot has lost a user") }
      }
      #expect(isPending == true)
      #expect(throws: StoreError.unknownUser(.bytes(marker))) { _ = try reader.length(of: .bytes(marker)) }
    }
    try deleteBesideASnapshot(markers[0])
    #expect(try !store.delete(user: .bytes(markers[1])).isErasurePending)
    for marker in markers[..<2] { #expect(try files(with: marker) == [], "after the next delete") }
    try deleteBesideASnapshot(markers[2])
    _ = try store.vacuum()
    #expect(try files(with: markers[2]) == [], "after vacuum")
    try deleteBesideASnapshot(markers[3])
    try reader.close()
    try store.close()
    #expect(try files(with: markers[3]) == [], "after closing")
    let reopened = try CacheStore.open(at: path)
    #expect(try reopened.verify().problems == [])
  }

  @Test func `a deleted user starts anew and the others stay`() throws {
    var random = SeededRandom(8)
    let reference = Reference(.items)
    var store = try directory.makeStore(.items, .init(keepsItems: true, durability: .normal))
    var histories = Histories(reference, .f16, users: 12, lengthLimit: 120, &random)
    for user in Set(histories.users) {
      try store.append([histories.request(user, 0..<histories.events[user]!.count)])
    }
    try store.fold()
    for user in Set(histories.users).filter({ !histories.events[$0]!.isEmpty }).prefix(5) {
      let events = reference.events(3, &random)
      let kept = histories.events[user]!
      try store.append([AppendRequest(events, user: user, expecting: kept.count)])
      #expect(try store.delete(user: user).positions == kept.count + 3)
      #expect(throws: StoreError.unknownUser(user)) { _ = try store.delete(user: user) }
      histories.events[user] = []
      expectSame(try histories.difference(store), "\(user) deleted")
      if random.chance(50) { store = try CacheStore.open(at: store.path) }
      try store.append([AppendRequest(events, user: user, expecting: 0)])
      histories.events[user] = events
      expectSame(try histories.difference(store), "\(user) begun anew")
    }
    #expect(try store.verify().problems == [])
    #expect(try store.statistics().positions == histories.events.values.reduce(0) { $0 + $1.count })
  }
}
