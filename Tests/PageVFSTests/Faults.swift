/// A disk that fails for one thread: from a chosen call on, everything that would change a file of this thread's SQLite
/// fails with EIO, once or for ever. For ever is what a killed process leaves behind. Sits below the page layer, in the
/// system calls of SQLite's own VFS; other threads, and so other tests, go on undisturbed.

import CSQLite
import Glibc
import Synchronization

enum Faults {
  fileprivate static let thread = Atomic<UInt>(0)
  fileprivate static let callsLeft = Atomic<Int>(0)
  fileprivate static let lastsForEver = Atomic<Bool>(false)

  /// Runs `body` on a disk that fails at its call number `call` (from 0). Returns whether it came to that. One at a
  /// time: suites that use it are serialized and nested in one.
  static func failing(at call: Int, forEver: Bool, _ body: () -> Void) -> Bool {
    _ = installed
    callsLeft.store(call, ordering: .sequentiallyConsistent)
    lastsForEver.store(forEver, ordering: .sequentiallyConsistent)
    thread.store(pthread_self(), ordering: .sequentiallyConsistent)
    body()
    thread.store(0, ordering: .sequentiallyConsistent)
    return callsLeft.load(ordering: .sequentiallyConsistent) < 0
  }

  fileprivate static func isDue() -> Bool {
    guard thread.load(ordering: .sequentiallyConsistent) == pthread_self() else { return false }
    let left = callsLeft.subtract(1, ordering: .sequentiallyConsistent).newValue
    return left == -1 || (left < -1 && lastsForEver.load(ordering: .sequentiallyConsistent))
  }

  /// Puts our calls in front of the system's, once.
  private static let installed: Bool = {
    sqlite3_initialize()
    guard let vfs = sqlite3_vfs_find("unix") else { return false }
    let pwriteCall: @convention(c) (Int32, UnsafeRawPointer?, Int, Int) -> Int = { descriptor, bytes, count, offset in
      if Faults.isDue() {
        errno = EIO
        return -1
      }
      return Glibc.pwrite(descriptor, bytes, count, offset)
    }
    let truncateCall: @convention(c) (Int32, Int) -> Int32 = { descriptor, size in
      if Faults.isDue() {
        errno = EIO
        return -1
      }
      return Glibc.ftruncate(descriptor, size)
    }
    let unlinkCall: @convention(c) (UnsafePointer<CChar>?) -> Int32 = { path in
      if Faults.isDue() {
        errno = EIO
        return -1
      }
      return path.map { Glibc.unlink($0) } ?? -1
    }
    let calls: [(String, sqlite3_syscall_ptr)] = [
      ("pwrite64", unsafeBitCast(pwriteCall, to: sqlite3_syscall_ptr.self)),
      ("pwrite", unsafeBitCast(pwriteCall, to: sqlite3_syscall_ptr.self)),
      ("ftruncate", unsafeBitCast(truncateCall, to: sqlite3_syscall_ptr.self)),
      ("unlink", unsafeBitCast(unlinkCall, to: sqlite3_syscall_ptr.self)),
    ]
    // One of the two writes is not compiled in, and answers that it is not found.
    for (name, call) in calls { _ = vfs.pointee.xSetSystemCall(vfs, name, call) }
    return true
  }()
}
