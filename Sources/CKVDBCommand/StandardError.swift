/// Standard error: whole messages, written at once, failures ignored (there is nobody left to tell).

internal import Glibc

package enum StandardError {
  package static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  package static func write(_ text: String) {
    var text = text
    text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while let start = rest.baseAddress, rest.count > 0 {
        let count = unsafe Glibc.write(STDERR_FILENO, start, rest.count)
        guard count > 0 || errno == EINTR else { return }
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest[max(count, 0)...])
      }
    }
  }
}
