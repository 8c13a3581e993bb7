/// Work on several threads at once, through libc alone.

import Glibc

enum Threads {
  private final class Work {
    let body: () throws -> Void
    var failure: (any Error)?
    init(_ body: @escaping () throws -> Void) { self.body = body }
  }

  /// Seconds until every one of `bodies`, each on a thread of its own, has returned.
  static func seconds(_ bodies: [() throws -> Void]) throws -> Double {
    let works = bodies.map(Work.init)
    var threads = [pthread_t](repeating: 0, count: works.count)
    let start = Clock.now()
    for (place, work) in works.enumerated() {
      let code = pthread_create(
        &threads[place], nil,
        { argument in
          let work = Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue()
          do { try work.body() } catch { work.failure = error }
          return nil
        }, Unmanaged.passRetained(work).toOpaque())
      guard code == 0 else { throw BenchmarkError("pthread_create: \(code)") }
    }
    for thread in threads { pthread_join(thread, nil) }
    let seconds = Clock.now() - start
    for work in works { if let failure = work.failure { throw failure } }
    return seconds
  }
}
