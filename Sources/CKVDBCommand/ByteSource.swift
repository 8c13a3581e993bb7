/// Where a stream of bytes comes from: a file, a pipe or standard input, chunk by chunk. It counts what it has read, so
/// that progress can be shown, and never looks at the bytes.

internal import Glibc

/// Something that hands out bytes until there are none.
package protocol ChunkReader {
  /// What messages call it.
  var name: String { get }
  /// The next bytes; empty only at the end.
  mutating func read() throws(CommandFailure) -> [UInt8]
}

/// An open file or standard input.
package final class ByteSource: ChunkReader {
  package let name: String
  /// The file's length; `nil` for a pipe or a terminal.
  package let byteCount: Int?
  package private(set) var bytesRead = 0

  private let descriptor: Int32
  private let isOwned: Bool
  private static let chunkByteCount = 1 << 18

  /// - Parameter path: a path, or `-` for standard input.
  package init(path: String) throws(CommandFailure) {
    if path == "-" {
      name = "standard input"
      descriptor = STDIN_FILENO
      isOwned = false
    } else {
      guard !path.isEmpty, !path.utf8.contains(0) else {
        throw CommandFailure(.data, "\(path.debugDescription) is not a path")
      }
      name = path
      isOwned = true
      let opened = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
      guard opened >= 0 else { throw Self.failure(path, "open", errno) }
      descriptor = opened
    }
    var status = stat()
    let isKnown = unsafe fstat(descriptor, &status) == 0
    byteCount = isKnown && status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil
  }

  deinit { if isOwned { _ = close(descriptor) } }

  package func read() throws(CommandFailure) -> [UInt8] {
    var code: Int32 = 0
    let chunk = unsafe [UInt8](unsafeUninitializedCapacity: Self.chunkByteCount) { buffer, count in
      var result: Int
      repeat {
        result = unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      } while result < 0 && errno == EINTR
      code = result < 0 ? errno : 0
      count = max(result, 0)
    }
    guard code == 0 else { throw Self.failure(name, "read", code) }
    bytesRead += chunk.count
    return chunk
  }

  private static func failure(_ name: String, _ operation: String, _ code: Int32) -> CommandFailure {
    CommandFailure(.inputOutput, "\(name): \(operation): \(ErrorText.text(ofErrno: code))")
  }
}
