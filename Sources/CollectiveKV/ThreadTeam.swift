/// Threads for one call: started when it begins, joined before it returns. Nothing is kept between calls and nothing
/// runs when none is made. Starting and joining one takes some tens of microseconds, so a caller that wants more of
/// them brings work for longer than that.

internal import Glibc

enum ThreadTeam {
  /// Runs `body` on the calling thread and on up to `count - 1` others at the same time; returns when all of them have.
  /// Where the system refuses a thread, those that there are do the work.
  static func run(_ count: Int, _ body: @escaping @Sendable (_ isCaller: Bool) -> Void) {
    var started: [pthread_t] = []
    for _ in 1..<max(count, 1) {
      let work = unsafe Unmanaged.passRetained(Work(body))
      var thread = pthread_t()
      let code = unsafe pthread_create(
        &thread, nil,
        { work in
          if let work = unsafe work { unsafe Unmanaged<Work>.fromOpaque(work).takeRetainedValue().body(false) }
          return nil
        }, work.toOpaque())
      guard code == 0 else {
        unsafe work.release()
        break
      }
      started.append(thread)
    }
    body(true)
    for thread in started { pthread_join(thread, nil) }
  }

  /// What a thread is started with.
  private final class Work: Sendable {
    let body: @Sendable (Bool) -> Void
    init(_ body: @escaping @Sendable (Bool) -> Void) { self.body = body }
  }
}
