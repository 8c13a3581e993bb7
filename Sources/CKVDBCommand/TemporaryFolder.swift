/// A directory for what a command makes and leaves to nobody: it goes with the object, whatever ended the command, the
/// signals that `Interruption` notices included. Nothing outside of it is ever removed.

internal import CacheTypes
internal import Glibc

/// Owned by one command; removed when the last reference goes, so hold it with `withExtendedLifetime`.
final class TemporaryFolder {
  let path: String

  /// Makes `ckvdb-<purpose>-<random number>` in `$TMPDIR`, or in /tmp.
  init(_ purpose: String) throws {
    let parent = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
    let number = UInt64.random(in: .min ... .max)
    path = "\(parent)/ckvdb-\(purpose)-\(String(number, radix: 16))"
    try naming(path) { try FileSystem.makeDirectory(path) }
  }

  deinit { try? Self.removeTree(path) }

  private static func removeTree(_ path: String) throws(StoreError) {
    guard try FileSystem.kind(path) == .directory else { return try FileSystem.remove(path) }
    for name in try FileSystem.entries(of: path) { try removeTree("\(path)/\(name)") }
    try FileSystem.removeDirectory(path)
  }
}
