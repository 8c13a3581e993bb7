/// Where a command's result goes: standard output, or a file that appears whole or not at all. Text is buffered here;
/// a reader that went away ends the command quietly.

package import CacheTypes
internal import Glibc

/// A buffered sink of bytes, used by one thread.
package final class Output {
  private var buffer: [UInt8] = []
  private var file: PendingFile?
  private static let bufferByteCount = 1 << 16

  /// - Parameter path: `nil` or `-` for standard output.
  package init(path: String?) throws(StoreError) {
    if let path, path != "-" { file = try PendingFile(path) } else { file = nil }
    buffer.reserveCapacity(Self.bufferByteCount)
  }

  package func write(_ text: String) throws {
    buffer.append(contentsOf: text.utf8)
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// Hands on what is buffered.
  package func flush() throws {
    defer { buffer.removeAll(keepingCapacity: true) }
    if let file {
      try file.write(buffer)
    } else {
      try Self.writeToStandardOutput(buffer)
    }
  }

  /// Writes what is left, and gives a file its name.
  package func finish() throws {
    try flush()
    try file?.commit()
  }

  private static func writeToStandardOutput(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let written = unsafe bytes.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return 0 }
        return unsafe Glibc.write(STDOUT_FILENO, base + done, bytes.count - done)
      }
      if written < 0 {
        if errno == EINTR { continue }
        if errno == EPIPE { throw BrokenPipe() }
        throw StoreError.io(operation: "write", path: "standard output", code: errno)
      }
      done += written
    }
  }
}

/// A new file under a temporary name: `commit` gives it its own, anything else removes it.
package final class PendingFile {
  package let path: String
  /// Where the bytes go until then.
  package let temporaryPath: String
  private var file: OpenFile?

  /// - Throws: `invalidInput` if anything but a regular file is at `path`: a link or a device is never replaced.
  package init(_ path: String) throws(StoreError) {
    try Self.check(path)
    self.path = path
    temporaryPath = Self.temporaryPath(beside: path)
    file = try OpenFile(temporaryPath, .creating)
  }

  deinit {
    if file != nil { try? FileSystem.remove(temporaryPath) }
  }

  package func write(_ bytes: [UInt8]) throws(StoreError) {
    try unsafe bytes.span.bytes.withUnsafeBytes { (bytes) throws(StoreError) in try unsafe file?.write(bytes) }
  }

  package func commit() throws(StoreError) {
    try file?.sync()
    try FileSystem.rename(temporaryPath, to: path, replacing: true)
    file = nil
  }

  /// Refuses to replace anything but a regular file, and a directory that is not there.
  package static func check(_ path: String) throws(StoreError) {
    let directory = FileSystem.directory(of: path)
    guard try FileSystem.exists(directory) else { throw .io(operation: "open", path: directory, code: ENOENT) }
    switch try FileSystem.kind(path) {
    case nil, .file: break
    case .directory, .link, .other: throw .invalidInput("\(path): not a regular file, so it is not replaced")
    }
  }

  package static func temporaryPath(beside path: String) -> String { "\(path).partial-\(getpid())" }
}
