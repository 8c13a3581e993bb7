import CacheTypes
import RowStorage
import Testing

/// Single flipped bits in the files of a small store.
struct DamageTests {
  static let flipCount = 2_000
  static let groupCount = 8

  /// A store's files and what they hold.
  struct Files {
    var database: [UInt8]
    var log: [UInt8]
    var histories: [UserID: [UInt32]]
  }

  static func files(isFolded: Bool) throws -> Files {
    let sample = try SampleStore(Sample.plain, element: .f16, columns: [.items])
    let store = try sample.open()
    var histories: [UserID: [UInt32]] = [:]
    for step in 0..<160 {
      let user = OverlayTests.user(step * step % 23)
      let run = (0..<UInt32(step % 5 + 1)).map { UInt32(step) * 10 + $0 }
      histories[user, default: []] += run
      try store.append(user, run)
    }
    // A block on pages below the root, and a tail.
    try store.append(3, (0..<900).map { UInt32($0) })
    histories[3, default: []] += (0..<900).map { UInt32($0) }
    if isFolded { try store.fold() }
    for step in 0..<20 {
      let user = OverlayTests.user(step)
      histories[user, default: []].append(UInt32(step))
      try store.append(user, [UInt32(step)])
    }
    try store.close()
    let database = try sample.folder.bytes(of: "users.sqlite")
    // The same store again, with commits that are in the log only.
    let again = try sample.open()
    for step in 0..<8 { try again.append(OverlayTests.user(step), [7]) }
    let log = try sample.folder.bytes(of: "users.sqlite-wal")
    return Files(database: database, log: log, histories: histories)
  }

  /// Reads everything; true if it is right, false if damage was reported.
  static func readsRight(_ path: String, _ histories: [UserID: [UInt32]]) throws -> Bool {
    do throws(StoreError) {
      let store = try RowStore(path: path, access: .readWrite, syncsCommits: false)
      var found: [UserID: Entries] = [:]
      try store.forEachUser { (user, snapshot) throws(StoreError) in
        found[user] = try snapshot.read(user, keepsColumns: true).entries
      }
      let expected = histories.mapValues { Sample.entries($0, store.model.shape, columns: store.columns) }
      if found != expected { Issue.record("wrong or missing entries") }
      return true
    } catch {
      switch error {
      case .damaged, .io, .database, .notAStore, .newerFormat: return false
      default: throw error
      }
    }
  }

  @Test(arguments: 0..<groupCount)
  func `a flipped bit of the database is reported or harmless`(group: Int) throws {
    let files = try Self.files(isFolded: group % 2 == 0)
    let folder = try ScratchFolder()
    defer { folder.remove() }
    var random = SplitMix64(seed: UInt64(group))
    var reported = 0
    for _ in 0..<Self.flipCount / Self.groupCount {
      let place = Int.random(in: 0..<files.database.count, using: &random)
      let bit = UInt8.random(in: 0..<8, using: &random)
      var database = files.database
      database[place] ^= 1 << bit
      try folder.write(database, to: "users.sqlite")
      for suffix in ["wal", "shm"] where try FileSystem.exists("\(folder.path)/users.sqlite-\(suffix)") {
        try FileSystem.remove("\(folder.path)/users.sqlite-\(suffix)")
      }
      do {
        if try !Self.readsRight("\(folder.path)/users.sqlite", files.histories) { reported += 1 }
      } catch { Issue.record("byte \(place), bit \(bit): \(error)") }
    }
    // What is not reported was in free pages, or in pages that only the next writer reads.
    #expect(reported * 2 > Self.flipCount / Self.groupCount)
  }

  @Test func `a cut database is reported at every length`() throws {
    let files = try Self.files(isFolded: true)
    let folder = try ScratchFolder()
    for length in stride(from: 0, to: files.database.count, by: 1_021) {
      try folder.write(Array(files.database[..<length]), to: "users.sqlite")
      for suffix in ["wal", "shm"] where try FileSystem.exists("\(folder.path)/users.sqlite-\(suffix)") {
        try FileSystem.remove("\(folder.path)/users.sqlite-\(suffix)")
      }
      #expect(try !Self.readsRight("\(folder.path)/users.sqlite", files.histories), "\(length) bytes")
    }
  }

  @Test func `a damaged or cut log leaves the commits before it`() throws {
    let files = try Self.files(isFolded: true)
    let folder = try ScratchFolder()
    var random = SplitMix64(seed: 99)
    for _ in 0..<60 {
      var log = files.log
      if Bool.random(using: &random) {
        log[Int.random(in: 0..<log.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      } else {
        log.removeLast(Int.random(in: 0..<log.count, using: &random))
      }
      try folder.write(files.database, to: "users.sqlite")
      try folder.write(log, to: "users.sqlite-wal")
      if try FileSystem.exists("\(folder.path)/users.sqlite-shm") {
        try FileSystem.remove("\(folder.path)/users.sqlite-shm")
      }
      let store = try RowStore(path: "\(folder.path)/users.sqlite", access: .readWrite, syncsCommits: false)
      var commits = 0
      for step in 0..<8 {
        let user = OverlayTests.user(step)
        let history = files.histories[user, default: []]
        let hasCommit = try store.length(of: user) > history.count
        if hasCommit { commits += 1 }
        // Commits are lost from the newest back, none in between.
        #expect(hasCommit == (commits == step + 1))
        #expect(try store.holds(user, history + (hasCommit ? [7] : [])))
      }
      #expect(try store.problems() == [])
      try store.close()
    }
  }
}
