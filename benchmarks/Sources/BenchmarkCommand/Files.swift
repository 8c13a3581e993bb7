/// Files and directories, through libc alone: making, measuring and removing what a benchmark leaves behind.

import Glibc

/// What stops a benchmark: a refused operation, a peer's error, or data that came back wrong.
struct BenchmarkError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

enum Files {
  static func makeDirectory(_ path: String) throws {
    guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure("mkdir", path) }
  }

  /// Removes a file or a whole directory; nothing there is no error.
  static func remove(_ path: String) {
    if let names = try? entries(path) {
      for name in names { remove(path + "/" + name) }
      rmdir(path)
    } else {
      unlink(path)
    }
  }

  /// Bytes of a file, or of all files below a directory, by their lengths.
  static func byteCount(_ path: String) -> Int {
    if let names = try? entries(path) { return names.reduce(0) { $0 + byteCount(path + "/" + $1) } }
    var status = stat()
    return lstat(path, &status) == 0 ? Int(status.st_size) : 0
  }

  /// Bytes that the file system has given to a file or to all files below a directory.
  static func allocatedByteCount(_ path: String) -> Int {
    if let names = try? entries(path) { return names.reduce(0) { $0 + allocatedByteCount(path + "/" + $1) } }
    var status = stat()
    return lstat(path, &status) == 0 ? Int(status.st_blocks) * 512 : 0
  }

  static func entries(_ path: String) throws -> [String] {
    guard let directory = opendir(path) else { throw failure("opendir", path) }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  static func write(_ bytes: [UInt8], to path: String) throws {
    guard let file = fopen(path, "w") else { throw failure("open", path) }
    defer { fclose(file) }
    guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw failure("write", path) }
  }

  static func readText(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    return text(of: file)
  }

  /// Everything that a command writes to its standard output.
  static func output(of command: String) throws -> String {
    guard let pipe = popen(command, "r") else { throw failure("run", command) }
    let result = text(of: pipe)
    let status = pclose(pipe)
    guard status == 0 else { throw BenchmarkError("\(command): status \(status)") }
    return result
  }

  static func failure(_ operation: String, _ path: String) -> BenchmarkError {
    BenchmarkError("\(operation) \(path): \(String(cString: strerror(errno)))")
  }

  private static func text(of file: UnsafeMutablePointer<FILE>) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = fread(&buffer, 1, buffer.count, file)
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
