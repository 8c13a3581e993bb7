/// Ctrl-C and a request to end, noticed instead of obeyed at once, so that a command can take away what it made. The
/// command asks at every step; once it has cleaned up, the process ends by the same signal, as its caller expects.

internal import Glibc
internal import Synchronization

/// A signal asked the command to end.
struct Interrupted: Error {
  let signal: Int32
}

enum Interruption {
  private static let noticed = Atomic<Int32>(0)

  /// Notices SIGINT and SIGTERM from now on. What the caller had ignored, as a shell does for a background job, stays
  /// ignored.
  static func notice() {
    // The handler may not be the one that initialises it.
    noticed.store(0, ordering: .relaxed)
    for number in [SIGINT, SIGTERM] {
      let previous = signal(number) { Interruption.noticed.store($0, ordering: .relaxed) }
      let wasIgnored = unsafe unsafeBitCast(previous, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
      if wasIgnored { _ = signal(number, SIG_IGN) }
    }
  }

  /// - Throws: `Interrupted` if a signal came.
  static func check() throws(Interrupted) {
    let number = noticed.load(ordering: .relaxed)
    if number != 0 { throw Interrupted(signal: number) }
  }

  /// Ends the process as the signal would have.
  static func end(_ interrupted: Interrupted) -> Never {
    _ = signal(interrupted.signal, SIG_DFL)
    _ = raise(interrupted.signal)
    // Reached only where the signal is blocked.
    exit(128 + interrupted.signal)
  }
}
