/// A folder of a test's own. It lasts until the tests end, because a store may outlive the last line that names its
/// folder; who makes thousands removes them. In memory where the system has such a place: these tests wait for commits,
/// not for disks.

import CacheTypes
import Foundation

struct ScratchFolder: Sendable {
  let path: String

  init() throws {
    path = "\(Self.base)/\(UUID().uuidString)"
    try FileSystem.makeDirectory(path)
  }

  func remove() { try? FileManager.default.removeItem(atPath: path) }

  func bytes(of name: String) throws -> [UInt8] { try ScratchFolder.bytes(at: "\(path)/\(name)") }

  func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
  }

  static func bytes(at path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

  /// One folder for all of a run, removed when the process ends.
  private static let base: String = {
    let memory = "/dev/shm"
    let parent = FileSystem.isWritable(memory) ? memory : FileManager.default.temporaryDirectory.path
    let path = "\(parent)/ckvdb-rows-\(UUID().uuidString)"
    try? FileSystem.makeDirectory(path)
    atexit { try? FileManager.default.removeItem(atPath: ScratchFolder.base) }
    return path
  }()
}
