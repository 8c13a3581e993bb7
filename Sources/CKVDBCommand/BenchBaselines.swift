/// What `ckvdb bench` holds the store against: a copy of full keys and values out of plain memory, and one small write
/// that waits for the disk. Neither knows anything of the store.

internal import CacheTypes
internal import Glibc

/// Full f16 keys and values of many users in memory, as a plain cache keeps them, and a buffer that one user's are
/// copied into. Used by one thread.
@safe final class FullCache {
  private let start: UnsafeMutableRawPointer
  private let userCount: Int
  /// Bytes of one user's keys and values.
  private let byteCount: Int
  /// Those of all users and of the buffer behind them.
  private var totalByteCount: Int { (userCount + 1) * byteCount }

  /// - Throws: `StoreError.io` if the system does not give the memory; `Interrupted`.
  init(userCount: Int, byteCount: Int) throws {
    precondition(userCount >= 1 && byteCount >= 1 && userCount < Int.max / byteCount)
    let total = (userCount + 1) * byteCount
    let mapped = unsafe mmap(nil, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      throw StoreError.io(operation: "mmap", path: "\(NumberText.bytes(total)) of memory", code: errno)
    }
    unsafe start = mapped
    self.userCount = userCount
    self.byteCount = byteCount
    // Pages that nobody wrote to are all one page of zeros.
    for user in 0...userCount {
      try Interruption.check()
      unsafe memset(start + user * byteCount, Int32(1 + user % 100), byteCount)
    }
  }

  deinit { _ = unsafe munmap(start, totalByteCount) }

  func copy(user: Int) {
    precondition((0..<userCount).contains(user))
    unsafe memcpy(start + userCount * byteCount, start + user * byteCount, byteCount)
  }
}

/// A file that takes 4 KiB at a time, each on the disk before the next, inside a length that is there from the start: a
/// file that grows costs more.
final class SyncedFile {
  static let byteCount = 4_096
  private let file: OpenFile
  private var page = [UInt8](repeating: 1, count: SyncedFile.byteCount)
  private var place = 0
  private static let pageCount = 1_024

  init(path: String) throws(StoreError) {
    file = try OpenFile(path, .creating)
    for number in 0..<Self.pageCount { try put(at: number * Self.byteCount) }
    try file.sync()
  }

  func write() throws(StoreError) {
    page[0] &+= 1
    try put(at: place * Self.byteCount)
    try file.syncData()
    place = (place + 1) % Self.pageCount
  }

  private func put(at offset: Int) throws(StoreError) {
    let page = page
    try unsafe page.span.bytes.withUnsafeBytes { (bytes) throws(StoreError) in
      try unsafe file.write(bytes, at: offset)
    }
  }
}
