/// What a store object knows of the commits that were made: the newest number that any of its connections has seen, and
/// the watermark that outlives the process. Every connection of the object shares one. A database that is behind either
/// is reported and never read as if nothing had happened. Thread-safe; no call here waits.

internal import CacheTypes
internal import Synchronization

/// Owns the newest commit's number.
final class CommitLedger: Sendable {
  private let newest = Atomic<Int64>(0)
  let watermark: Watermark?
  /// Whether commits that did not wait for the disk are taken down too.
  private let recordsUnsynced: Bool

  init(watermark: Watermark? = nil, recordsUnsynced: Bool = false) {
    self.watermark = watermark
    self.recordsUnsynced = recordsUnsynced
  }

  /// A commit that was there. Read it before a snapshot is taken, and give it to `check` afterwards: a newer commit may
  /// come in between.
  var known: Int64 { newest.load(ordering: .acquiring) }

  /// Takes note of a snapshot's number.
  ///
  /// - Throws: `StoreError.rolledBack` if it lacks a commit that was there before it was taken.
  func check(_ meta: Meta, isAtLeast known: Int64, _ path: String) throws(StoreError) {
    guard meta.commits >= known else {
      throw .rolledBack(path: path, commits: Int(known - meta.commits))
    }
    newest.max(meta.commits, ordering: .acquiringAndReleasing)
  }

  /// Takes note of a commit that returned.
  func committed(_ meta: Meta, isSynced: Bool) {
    newest.max(meta.commits, ordering: .acquiringAndReleasing)
    if isSynced || recordsUnsynced { watermark?.record(meta.commits) }
  }

  /// Takes down a commit that is on disk by now.
  func noteDurable(_ number: Int64) {
    if number >= Meta.firstCommit { watermark?.record(number) }
  }
}
