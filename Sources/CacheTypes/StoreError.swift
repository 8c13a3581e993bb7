/// Every way a call can fail. A caller's mistake changes nothing; damage is named and never returned as data.

/// What went wrong, with what was seen beside what was expected.
public enum StoreError: Error, Hashable, Sendable {
  /// The path holds no store, or one that cannot be opened as asked.
  case notAStore(path: String, reason: String)
  /// Something is at the path already.
  case alreadyExists(path: String)
  /// The store was written by a newer version of the format.
  case newerFormat(path: String, found: Int, supported: Int)
  /// The model file breaks a rule of the format or of the engine.
  case invalidModel(path: String, reason: String)
  /// The caller's data does not fit the model or the call.
  case invalidInput(String)
  /// Stored bytes are not what was written.
  case damaged(String)
  /// The database lacks this many of the newest commits that are known to have been made. What is left is whole.
  case rolledBack(path: String, commits: Int)
  /// The user has no history.
  case unknownUser(UserID)
  /// The user's rows belong to another model.
  case staleUser(UserID)
  /// The caller expected another length of the user's history. Nothing was written.
  case positionConflict(user: UserID, expected: Int, length: Int)
  /// The operating system refused an operation.
  case io(operation: String, path: String, code: Int32)
  /// SQLite refused an operation.
  case database(operation: String, code: Int32, message: String)
  /// Another connection holds what this call needs; try again later.
  case busy(String)
  /// An earlier write failed in a way that leaves the outcome unknown: open the store anew.
  case poisoned(String)
  /// The store was opened for reading only.
  case readOnly
  /// The store was closed.
  case closed
}

extension StoreError: CustomStringConvertible {
  /// One line that names what was wrong and where.
  public var description: String {
    switch self {
    case .notAStore(let path, let reason): "\(path): not a store: \(reason)"
    case .alreadyExists(let path): "\(path): already exists"
    case .newerFormat(let path, let found, let supported):
      "\(path): format version \(found), this version reads up to \(supported)"
    case .invalidModel(let path, let reason): "\(path): invalid model: \(reason)"
    case .invalidInput(let reason): reason
    case .damaged(let reason): "damaged: \(reason)"
    case .rolledBack(let path, let commits): "\(path): \(WatermarkState.rolledBack(commits: commits))"
    case .unknownUser(let user): "user \(user) is unknown"
    case .staleUser(let user): "user \(user) is stale: the rows belong to another model"
    case .positionConflict(let user, let expected, let length):
      "user \(user) has \(length) positions: position \(expected) is not the next"
    case .io(let operation, let path, let code): "\(path): \(operation): error \(code) of the operating system"
    case .database(let operation, let code, let message): "\(operation): \(message) (SQLite code \(code))"
    case .busy(let reason): "busy: \(reason)"
    case .poisoned(let reason): "an earlier write failed, its outcome is unknown: \(reason)"
    case .readOnly: "the store was opened for reading only"
    case .closed: "the store was closed"
    }
  }
}
