/// One open file, closed once. Together with FileSystem.swift this is the only place that calls the operating system
/// about files; SQLite has its own. It never follows a link unless told to, never lends out the descriptor, and reports
/// each refusal as `StoreError.io` with the operation, the path and errno.

internal import Glibc

/// An open regular file. One thread at a time, except for `read(at:)` and `write(at:)`, which share no position.
package struct OpenFile: ~Copyable, Sendable {
  package let path: String
  private let descriptor: Int32

  /// How a file is opened. New files get mode 0600 whatever the umask.
  package enum Access: Sendable {
    /// Reads an existing file.
    case reading(followsLinks: Bool)
    /// Reads and writes an existing file.
    case updating
    /// Makes a new file; anything already at the path is `alreadyExists`.
    case creating
  }

  /// Opens a regular file; a directory, device, pipe or socket is refused with `invalidInput`, without waiting for a
  /// pipe's other end.
  package init(_ path: String, _ access: Access) throws(StoreError) {
    descriptor = try Self.openDescriptor(path, access)
    self.path = path
  }

  deinit { _ = close(descriptor) }

  /// The file's length, in bytes.
  package func byteCount() throws(StoreError) -> Int { Int(try Self.status(of: descriptor, path).st_size) }

  /// Writes all of `bytes` at the current position.
  package func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
    var rest = unsafe bytes
    while let start = rest.baseAddress, rest.count > 0 {
      let count = rest.count
      let written = FileSystem.retrying { unsafe Glibc.write(descriptor, start, count) }
      guard written > 0 else { throw FileSystem.failure("write", path, written == 0 ? EIO : errno) }
      unsafe rest = UnsafeRawBufferPointer(rebasing: rest[written...])
    }
  }

  /// Writes all of `bytes` at `offset`.
  package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StoreError) {
    var rest = unsafe bytes
    var place = offset
    while let start = rest.baseAddress, rest.count > 0 {
      let count = rest.count
      let written = FileSystem.retrying { unsafe pwrite(descriptor, start, count, place) }
      guard written > 0 else { throw FileSystem.failure("pwrite", path, written == 0 ? EIO : errno) }
      unsafe rest = UnsafeRawBufferPointer(rebasing: rest[written...])
      place += written
    }
  }

  /// Reads into `bytes` from `offset` on.
  ///
  /// - Returns: the number of bytes read: fewer than asked for only at the end of the file.
  package func read(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(StoreError) -> Int {
    var done = 0
    while done < bytes.count, let start = bytes.baseAddress {
      let rest = bytes.count - done
      let count = FileSystem.retrying { unsafe pread(descriptor, start + done, rest, offset + done) }
      guard count >= 0 else { throw FileSystem.failure("pread", path) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// Forces the file's content and length to the disk. After a failure the content is unknown: never call it again.
  package func sync() throws(StoreError) {
    guard FileSystem.retrying({ fsync(descriptor) }) == 0 else { throw FileSystem.failure("fsync", path) }
  }

  /// Forces the file's content to the disk, and of the rest only what reading it needs. As `sync` after a failure.
  package func syncData() throws(StoreError) {
    guard FileSystem.retrying({ fdatasync(descriptor) }) == 0 else { throw FileSystem.failure("fdatasync", path) }
  }

  /// Maps the whole file for reading. The mapping outlives the descriptor and is undone once, by the result's release.
  /// Should somebody cut the file short, it reads as zeros there and `isWhole` says so.
  package func map() throws(StoreError) -> TensorMemory {
    let count = try byteCount()
    guard count > 0 else {
      return unsafe TensorMemory(UnsafeRawBufferPointer(start: nil, count: 0)) { _, _ in }
    }
    let start = unsafe mmap(nil, count, PROT_READ, MAP_SHARED, descriptor, 0)
    guard let start = unsafe start, unsafe start != MAP_FAILED else { throw FileSystem.failure("mmap", path) }
    let memory = unsafe TensorMemory(mapping: UnsafeRawBufferPointer(start: start, count: count)) { start, count in
      _ = unsafe munmap(UnsafeMutableRawPointer(mutating: start), count)
    }
    guard let memory else {
      _ = unsafe munmap(start, count)
      throw FileSystem.failure("mmap", path, EMFILE)
    }
    return memory
  }

  private static func openDescriptor(_ path: String, _ access: Access) throws(StoreError) -> Int32 {
    try FileSystem.checkPath(path)
    var flags = O_CLOEXEC | O_NONBLOCK
    switch access {
    case .reading(let followsLinks): flags |= O_RDONLY | (followsLinks ? 0 : O_NOFOLLOW)
    case .updating: flags |= O_RDWR | O_NOFOLLOW
    case .creating: flags |= O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW
    }
    let opened = FileSystem.retrying { unsafe open(path, flags, 0o600) }
    guard opened >= 0 else {
      if case .creating = access, errno == EEXIST { throw .alreadyExists(path: path) }
      throw FileSystem.failure("open", path)
    }
    do throws(StoreError) {
      if case .creating = access {
        guard fchmod(opened, 0o600) == 0 else { throw FileSystem.failure("fchmod", path) }
      } else {
        let kind = try status(of: opened, path).st_mode & S_IFMT
        guard kind == S_IFREG else { throw .invalidInput("\(path) is not a regular file") }
      }
    } catch {
      _ = close(opened)
      throw error
    }
    return opened
  }

  private static func status(of descriptor: Int32, _ path: String) throws(StoreError) -> stat {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw FileSystem.failure("fstat", path) }
    return status
  }
}
