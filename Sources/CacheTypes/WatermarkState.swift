/// What a store's watermark says about its database. The watermark is a small file that takes down the number of each
/// commit outside of the database, so that a database that lost commits without a trace of its own is found out.

/// A database beside its watermark.
public enum WatermarkState: Hashable, Sendable {
  /// Every commit that was taken down is there.
  case sound
  /// The database lacks this many of the newest commits that were taken down.
  case rolledBack(commits: Int)
  /// There is no watermark: nobody can tell whether commits are lost.
  case missing
  /// The watermark was written for another store.
  case foreign
  /// No mark can be read. The next commit that waits for the disk leaves one.
  case unreadable
  /// This process could not take down a commit, which is on disk all the same.
  case unwritten(reason: String)

  /// Whether a store can be opened only by who accepts it. An unreadable watermark is let through: it is not synced, so
  /// a loss of power may leave anything in it, while the file itself is on disk before the store has its name.
  package var isRefused: Bool {
    switch self {
    case .rolledBack, .missing, .foreign: true
    case .sound, .unreadable, .unwritten: false
    }
  }
}

extension WatermarkState: CustomStringConvertible {
  /// What is wrong, in words that follow the name of the store or of a file.
  public var description: String {
    switch self {
    case .sound: "every commit is there"
    case .rolledBack(let commits): "rolled back by \(commits) commit\(commits == 1 ? "" : "s")"
    case .missing: "the watermark is missing: nobody can tell whether commits are lost"
    case .foreign: "the watermark belongs to another store: nobody can tell whether commits are lost"
    case .unreadable: "the watermark cannot be read: until the next commit nobody can tell whether commits are lost"
    case .unwritten(let reason): "the watermark lags behind: \(reason)"
    }
  }
}
