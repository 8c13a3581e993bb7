/// A folder of a test's own, removed with it. In memory where the system has such a place: these tests wait for commits,
/// not for disks.

import CacheTypes
import Foundation

final class ScratchFolder: Sendable {
  let path: String

  init() throws {
    let memory = "/dev/shm"
    let base = FileSystem.isWritable(memory) ? memory : FileManager.default.temporaryDirectory.path
    path = "\(base)/ckvdb-rows-\(UUID().uuidString)"
    try FileSystem.makeDirectory(path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func bytes(of name: String) throws -> [UInt8] { try ScratchFolder.bytes(at: "\(path)/\(name)") }

  func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
  }

  static func bytes(at path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }
}
