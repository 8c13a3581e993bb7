/// What fuzz targets share: files that live in memory, and bytes that are read one after the other. The files here are
/// compiled twice: into the tests, which replay the corpus, and into the programs that `make fuzz` runs. They use no
/// test library; what must hold is a precondition.

import CacheTypes
import Foundation

/// A directory in memory of this process.
enum FuzzScratch {
  static let path: String = {
    let parent = FileSystem.isWritable("/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
    let path = "\(parent)/ckvdb-fuzz-\(getpid())"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    atexit { try? FileManager.default.removeItem(atPath: FuzzScratch.path) }
    return path
  }()

  /// Writes a file anew and returns its path.
  static func write(_ bytes: some Collection<UInt8>, to name: String) -> String {
    let file = "\(path)/\(name)"
    let descriptor = open(file, O_RDWR | O_CREAT | O_TRUNC, 0o600)
    precondition(descriptor >= 0, "the scratch directory can be written to")
    defer { close(descriptor) }
    let content = Array(bytes)
    let written = content.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
    precondition(written == content.count, "the scratch directory has room")
    return file
  }
}

/// Bytes that decide something, one after the other; zeros when there are no more.
struct FuzzBytes {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isEmpty: Bool { rest.isEmpty }

  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
  mutating func number(below limit: Int) -> Int { limit <= 1 ? 0 : (Int(byte()) << 8 | Int(byte())) % limit }
  mutating func all() -> [UInt8] {
    defer { rest = [] }
    return Array(rest)
  }

  /// An integer that likely breaks something, or any.
  mutating func integer() -> Int64 {
    let edges: [Int64] = [
      0, 1, -1, 2, 3, 4, 7, 8, 20, 23, 64, 255, 256, 65_535, 65_536, 65_537, 1 << 20, 1 << 31 - 1, 1 << 31, 1 << 32 - 1,
      1 << 32, -1 << 31, -1 << 32, 1 << 53, 1 << 62, .max / 2, .max - 1, .max, .min, .min + 1,
    ]
    let choice = Int(byte())
    if choice < 2 * edges.count { return edges[choice / 2] &+ (choice % 2 == 0 ? 0 : Int64(Int8(bitPattern: byte()))) }
    return (0..<8).reduce(0) { value, _ in value << 8 | Int64(byte()) }
  }
}
