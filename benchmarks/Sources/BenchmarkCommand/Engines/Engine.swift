/// What the benchmarks ask of a store, ckvdb and peers alike. Every engine keeps the same entries under the same users
/// with the same durability: a commit that returned is on the disk.

import CollectiveKV

/// One batch of new positions, made ready outside the clock.
struct Commit {
  /// In order of user id, one run per user.
  var runs: [Run]
  var entries: [Entry]
  /// The same for ckvdb; nothing for peers.
  var columns: Entries?
  var appendRuns: [AppendRun] = []

  init(_ events: (runs: [Run], entries: [Entry]), for engine: any Engine) {
    (runs, entries) = events
    if engine is CKVDBEngine {
      columns = CKVDBEngine.columns(entries)
      appendRuns = runs.map { AppendRun(user: .integer($0.user), count: $0.count) }
    }
  }
}

/// A store that is measured.
protocol Engine: AnyObject {
  var name: String { get }
  /// The directory that holds all of its files.
  var path: String { get }
  /// Stores whole histories, as fast as it can be done, and brings them into their final form.
  func load(_ population: Population) throws
  /// Appends at the end of the users' histories, whose lengths are looked up; on the disk when it returns.
  func commit(_ commit: Commit) throws
  /// Reads a user's whole history into memory. Returns the positions.
  func read(_ user: Int64) throws -> Int
  /// Reads a user's history and hashes it, entry by entry.
  func hash(of user: Int64) throws -> (positions: Int, hash: UInt64)
  /// Finishes the work that appends left for later, so far as the engine does so by itself or at a close.
  func settle() throws
  /// Brings everything into its most compact form.
  func compact() throws
  func close() throws
}

extension Engine {
  var byteCount: Int { Files.byteCount(path) }
}

/// Memory for one user's entries, that peers read into.
final class EntryBuffer {
  let bytes: UnsafeMutableRawPointer
  let capacity: Int
  init(capacity: Int = 1 << 20) {
    self.capacity = capacity
    bytes = .allocate(byteCount: capacity * Entry.byteCount, alignment: 64)
  }
  deinit { bytes.deallocate() }

  func hash(_ count: Int) -> UInt64 {
    (0..<count).reduce(0) { Entry(bytes + $1 * Entry.byteCount).hashed(into: $0) }
  }
}
