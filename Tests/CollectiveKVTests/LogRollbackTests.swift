/// Single flipped bits in a log that was not yet checkpointed. SQLite takes the first frame that does not match for the
/// end of the log: the commits from there on are gone, and nothing in the database says so. The watermark does.

import CollectiveKV
import Foundation
import Testing

struct LogRollbackTests {
  /// Flips among the frames of commits; set CKVDB_LOG_FLIPS for more.
  private static let flipCount =
    ProcessInfo.processInfo.environment["CKVDB_LOG_FLIPS"].flatMap { Int($0) } ?? 600
  private static let commitCount = 50

  /// The files of a store whose process ended after its last commit, and what is in its log.
  private struct Left {
    let directory: TemporaryDirectory
    let path: String
    var log: [UInt8]
    /// Where each commit ends in the log.
    var ends: [Int] = []

    var logPath: String { path + "/users.sqlite-wal" }

    init() throws {
      directory = try TemporaryDirectory()
      path = directory.file("left.ckv")
      let store = try directory.makeStore(.plain, .init(pageByteCount: 4_096, durability: .full))
      for step in 0..<LogRollbackTests.commitCount {
        let count = 1 + step % 3
        try store.append(
          user: .integer(Int64(step % 7)), embeddings: (0..<6 * count).map { Float(step * 8 + $0) / 64 })
      }
      try FileManager.default.copyItem(atPath: store.path, toPath: path)
      try FileManager.default.removeItem(atPath: path + "/users.sqlite-shm")
      log = try directory.bytes(of: "left.ckv/users.sqlite-wal")
      // Frames of this log have its two salts; the one that ends a commit holds the database's size.
      let salts = Array(log[16..<24])
      let frameByteCount = 24 + 4_096
      var place = 32
      while place + frameByteCount <= log.count, Array(log[place + 8..<place + 16]) == salts {
        place += frameByteCount
        if log[place - frameByteCount + 4..<place - frameByteCount + 8].contains(where: { $0 != 0 }) {
          ends.append(place)
        }
      }
      try #require(ends.count == LogRollbackTests.commitCount)
    }

    /// What opening says while one bit of the log is another.
    func openingError(flipping bit: Int, _ access: OpenOptions.Access) throws -> StoreError? {
      let file = try OpenFile(logPath, .updating)
      func put(_ byte: UInt8) throws { try [byte].withUnsafeBytes { try file.write($0, at: bit / 8) } }
      try put(log[bit / 8] ^ 1 << UInt8(bit % 8))
      let error = thrown { () throws(StoreError) in
        let store = try CacheStore.open(at: path, options: .init(access: access))
        guard try holdsEverything(store) else { throw .invalidInput("commits are lost without a word") }
      }
      try put(log[bit / 8])
      try FileManager.default.removeItem(atPath: path + "/users.sqlite-shm")
      return error
    }

    private func holdsEverything(_ store: CacheStore) throws(StoreError) -> Bool {
      var lengths: [UserID: Int] = [:]
      for step in 0..<LogRollbackTests.commitCount { lengths[.integer(Int64(step % 7)), default: 0] += 1 + step % 3 }
      for (user, length) in lengths where try store.length(of: user) != length { return false }
      return try store.verify().problems == []
    }
  }

  @Test func `a flipped bit in the log is reported, with the number of commits that are lost`() throws {
    let left = try Left()
    var random = SeededRandom(600)
    var reported = 0
    for flip in 0..<Self.flipCount {
      let bit = random.below(left.ends.last! * 8)
      let lost = left.ends.count { $0 > bit / 8 }
      // Opening for writing changes nothing either, as long as nobody accepted the loss.
      let error = try left.openingError(flipping: bit, flip % 4 == 0 ? .readWrite : .readOnly)
      #expect(error == .rolledBack(path: left.path + "/users.sqlite", commits: lost), "flip \(flip), bit \(bit)")
      if case .rolledBack = error { reported += 1 }
    }
    #expect(try left.directory.bytes(of: "left.ckv/users.sqlite-wal") == left.log)
    print("WAL roll-backs reported: \(reported) of \(Self.flipCount)")
  }

  @Test func `a flipped bit behind the last commit loses nothing`() throws {
    let left = try Left()
    var random = SeededRandom(40)
    let start = left.ends.last!
    try #require(left.log.count > start + 4_096)
    for _ in 0..<20 {
      let bit = start * 8 + random.below((left.log.count - start) * 8)
      #expect(try left.openingError(flipping: bit, .readOnly) == nil, "bit \(bit)")
    }
  }
}
