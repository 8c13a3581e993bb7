/// What every failure says and which code the process ends with: the only file of the command that knows all of
/// `StoreError`. A message names the file, the place and the reason; nothing here prints data of users.

internal import ArgumentParser
package import CacheTypes
internal import Glibc

/// The exit codes, after sysexits(3).
package enum FailureStatus: Int32, Sendable {
  /// Wrong usage of the command.
  case usage = 64
  /// Damaged or refused data.
  case data = 65
  /// The operating system or SQLite refused an operation.
  case inputOutput = 74
  /// Another process holds what is needed; trying again later may help.
  case busy = 75
}

/// A failure with its text, ready to be printed.
package struct CommandFailure: Error, Hashable, Sendable {
  package var status: FailureStatus
  package var message: String

  package init(_ status: FailureStatus, _ message: String) {
    self.status = status
    self.message = message
  }
}

/// Standard output was closed by its reader: nothing is wrong.
struct BrokenPipe: Error {}

package enum ErrorText {
  /// The text and the exit code of a store's error.
  ///
  /// - Parameter place: the file or the store that the call was about; put in front where the error does not name one.
  package static func failure(_ error: StoreError, at place: String) -> CommandFailure {
    switch error {
    case .notAStore(let path, let reason): CommandFailure(.data, "\(path): not a store: \(reason)")
    case .alreadyExists(let path): CommandFailure(.data, "\(path): already exists")
    case .newerFormat(let path, let found, let supported):
      CommandFailure(.data, "\(path): written in format version \(found), this ckvdb reads up to version \(supported)")
    case .invalidModel(let path, let reason): CommandFailure(.data, "\(path): invalid model: \(reason)")
    case .invalidInput(let reason): CommandFailure(.data, prefixed(reason, place))
    case .damaged(let reason): CommandFailure(.data, prefixed(reason, place, kind: "damaged"))
    case .rolledBack(let path, let commits):
      CommandFailure(
        .data, "\(path): \(WatermarkState.rolledBack(commits: commits)): --accept-rollback goes on without what is lost"
      )
    case .unknownUser(let user): CommandFailure(.data, "\(place): user \(user) is unknown")
    case .staleUser(let user):
      CommandFailure(.data, "\(place): user \(user) is stale: the rows belong to another model")
    case .positionConflict(let user, let expected, let length):
      CommandFailure(
        .data, "\(place): user \(user) has \(length) positions, so the next is \(length), not \(expected) as stated")
    case .io(let operation, let path, let code):
      CommandFailure(.inputOutput, "\(path): \(operation): \(text(ofErrno: code))")
    case .database(let operation, let code, let message): database(operation, code, message, place)
    case .busy(let reason): CommandFailure(.busy, prefixed(reason, place, kind: "busy"))
    case .poisoned(let reason):
      CommandFailure(.inputOutput, prefixed("an earlier write failed, its outcome is unknown: \(reason)", place))
    case .readOnly: CommandFailure(.data, "\(place): opened for reading only")
    case .closed: CommandFailure(.inputOutput, "\(place): the store was closed")
    }
  }

  /// Prints the failure and ends the process.
  static func exit(with error: any Error, place: String = "") -> Never {
    switch error {
    case let failure as CommandFailure:
      complain(failure.message)
      Glibc.exit(failure.status.rawValue)
    case let error as StoreError:
      let failure = failure(error, at: place)
      complain(failure.message)
      Glibc.exit(failure.status.rawValue)
    case is BrokenPipe: Glibc.exit(0)
    case let interrupted as Interrupted: Interruption.end(interrupted)
    default:
      let code = Command.exitCode(for: error)
      guard code == .validationFailure else { Command.exit(withError: error) }
      // The parser's own text, which ends with the usage, under this program's name.
      let text = Command.fullMessage(for: error)
      let label = "Error: "
      complain(text.hasPrefix(label) ? String(text.dropFirst(label.count)) : text)
      Glibc.exit(FailureStatus.usage.rawValue)
    }
  }

  /// One line on standard error.
  package static func complain(_ message: String) {
    StandardError.write("ckvdb: \(message)\n")
  }

  package static func text(ofErrno code: Int32) -> String {
    unsafe String(cString: strerror(code))
  }

  /// SQLite's primary result codes that are not simply a refused operation: its file format documentation and
  /// `sqlite3.h` fix the numbers.
  private static func database(_ operation: String, _ code: Int32, _ message: String, _ place: String) -> CommandFailure
  {
    let text = prefixed("\(operation): \(message) (SQLite code \(code))", place)
    switch code & 0xFF {
    case 5, 6: return CommandFailure(.busy, text)
    case 11, 26: return CommandFailure(.data, text)
    default: return CommandFailure(.inputOutput, text)
    }
  }

  /// `place: kind: reason`; a reason that starts with the place, or with a file inside it, keeps that.
  private static func prefixed(_ reason: String, _ place: String, kind: String? = nil) -> String {
    let label = kind.map { "\($0): " } ?? ""
    guard !place.isEmpty else { return label + reason }
    guard reason.hasPrefix(place) else { return "\(place): \(label)\(reason)" }
    guard kind != nil else { return reason }
    var rest = reason[...]
    while !rest.isEmpty, !rest.hasPrefix(": ") { rest = rest.dropFirst() }
    return rest.isEmpty ? label + reason : reason[..<rest.startIndex] + ": " + label + rest.dropFirst(2)
  }
}
