/// What the parts of an engine's work cost by themselves, at the least: hashing what a read returns, fetching its page
/// from the page cache, waiting for the disk. Everything above these floors is the engine's own.

import CXXHashFloor
import Glibc

enum FloorsBenchmark {
  static func run(_ options: Options) throws {
    let report = Report("floors", options)
    hashing(report, options)
    for place in options.places {
      try options.withDirectory(in: place.parent) { directory in
        try reading(directory, place.label, report, options)
        for isGrowing in [false, true] { try syncing(directory, place.label, isGrowing, report, options) }
      }
    }
    try report.finish()
  }

  /// XXH3 over the payload of 500 positions, in rows as long as a block of 8 KiB pages.
  private static func hashing(_ report: Report, _ options: Options) {
    let rowByteCount = 976
    let rows = Int((500 * PositionBytes.payloadF16 / Double(rowByteCount)).rounded(.up))
    let bytes = [UInt8](repeating: 7, count: rows * rowByteCount)
    var samples = Samples()
    for _ in 0..<options.sized(100, 10_000) {
      samples.measure {
        bytes.withUnsafeBytes { raw in
          for row in 0..<rows {
            BlackHole.take(XXH3_64bits(raw.baseAddress! + row * rowByteCount, rowByteCount))
          }
        }
      }
    }
    report.measured("XXH3-64 of 500 positions' payload, \(rows) rows", samples.median * 1e6, "us")
  }

  /// One page of a file that the page cache holds.
  private static func reading(_ directory: String, _ label: String, _ report: Report, _ options: Options) throws {
    let path = directory + "/pages"
    let (pageByteCount, pages) = (8_192, 4_096)
    try Files.write([UInt8](repeating: 1, count: pageByteCount * pages), to: path)
    let file = Glibc.open(path, O_RDONLY)
    guard file >= 0 else { throw Files.failure("open", path) }
    defer { close(file) }
    var random = SplitMix(seed: options.seed)
    var page = [UInt8](repeating: 0, count: pageByteCount)
    var samples = Samples()
    for _ in 0..<options.sized(100, 20_000) {
      let offset = random.below(pages) * pageByteCount
      samples.measure { _ = pread(file, &page, pageByteCount, off_t(offset)) }
    }
    report.measured("pread of one 8 KiB page, in the page cache, \(label)", samples.median * 1e6, "us")
  }

  private static func syncing(
    _ directory: String, _ label: String, _ isGrowing: Bool, _ report: Report, _ options: Options
  ) throws {
    let file = try SyncedFile(path: directory + "/synced", byteCount: isGrowing ? 0 : 16 << 20)
    var samples = Samples()
    for _ in 0..<options.sized(5, 500) { try samples.measure { try file.write() } }
    file.close()
    let kind = isGrowing ? "at the end of a growing file" : "into a preallocated file"
    report.measured("4 KiB pwrite + fdatasync \(kind), \(label), p50", samples.median * 1e6, "us")
    report.measured("the same, p99", samples.quantile(0.99) * 1e6, "us")
  }
}

/// A file that takes 4 KiB at a time, each on the disk before the next.
final class SyncedFile {
  private let path: String
  private let descriptor: Int32
  private let byteCount: Int
  private var offset = 0
  private var page = [UInt8](repeating: 0, count: 4_096)

  /// - Parameter byteCount: how much is written beforehand, and then over and over; 0: the file grows.
  init(path: String, byteCount: Int) throws {
    self.path = path
    self.byteCount = byteCount
    try Files.write([UInt8](repeating: 0, count: byteCount), to: path)
    descriptor = Glibc.open(path, O_WRONLY)
    guard descriptor >= 0, fsync(descriptor) == 0 else { throw Files.failure("open", path) }
  }

  func write() throws {
    page[0] &+= 1
    guard pwrite(descriptor, page, page.count, off_t(offset)) == page.count, fdatasync(descriptor) == 0 else {
      throw Files.failure("write", path)
    }
    offset += page.count
    if byteCount > 0, offset == byteCount { offset = 0 }
  }

  func close() { Glibc.close(descriptor) }
}
