/// Directory entries: making, naming, listing and removing them. With OpenFile.swift the only place that calls the
/// operating system about files. Nothing here follows a link in a path's last component, except `entries(of:)` and
/// `syncDirectory`, which a caller hands a directory it has resolved.

internal import Glibc

package enum FileSystem {
  /// Forces a directory's entries to the disk: what makes a new, renamed or removed file last.
  package static func syncDirectory(_ path: String) throws(StoreError) {
    try checkPath(path)
    let descriptor = retrying { unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { _ = close(descriptor) }
    guard retrying({ fsync(descriptor) }) == 0 else { throw failure("fsync", path) }
  }

  /// Makes a directory of mode 0700, whatever the umask. Anything already there is `alreadyExists`.
  package static func makeDirectory(_ path: String) throws(StoreError) {
    try checkPath(path)
    guard unsafe mkdir(path, 0o700) == 0 else {
      if errno == EEXIST { throw .alreadyExists(path: path) }
      throw failure("mkdir", path)
    }
    let descriptor = retrying { unsafe open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    if descriptor >= 0 {
      defer { _ = close(descriptor) }
      guard fchmod(descriptor, 0o700) == 0 else { throw failure("fchmod", path) }
    } else {
      // A umask that takes the owner's own rights keeps the directory from being opened.
      guard errno == EACCES else { throw failure("open", path) }
      guard unsafe fchmodat(AT_FDCWD, path, 0o700, AT_SYMLINK_NOFOLLOW) == 0 else { throw failure("fchmodat", path) }
    }
  }

  /// The absolute path of a directory, free of links: what it names stays the same if the process changes its working
  /// directory, or somebody a link on the way.
  package static func resolve(_ directory: String) throws(StoreError) -> String {
    try checkPath(directory)
    guard let resolved = unsafe realpath(directory, nil) else { throw failure("realpath", directory) }
    defer { unsafe free(resolved) }
    guard let path = unsafe String(validatingCString: resolved) else {
      throw .invalidInput("\(directory.debugDescription) leads to a path that is not UTF-8")
    }
    return path
  }

  /// Makes an empty file of mode 0600, whatever the umask. Anything already there is `alreadyExists`.
  package static func makeFile(_ path: String) throws(StoreError) {
    try checkPath(path)
    let descriptor = retrying { unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600) }
    guard descriptor >= 0 else {
      if errno == EEXIST { throw .alreadyExists(path: path) }
      throw failure("open", path)
    }
    defer { _ = close(descriptor) }
    guard fchmod(descriptor, 0o600) == 0 else { throw failure("fchmod", path) }
    guard retrying({ fsync(descriptor) }) == 0 else { throw failure("fsync", path) }
  }

  /// The length of a file, in bytes.
  package static func byteCount(_ path: String) throws(StoreError) -> Int {
    try checkPath(path)
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { throw failure("lstat", path) }
    return Int(status.st_size)
  }

  /// Whether something is at the path: a file, a directory, or a link, wherever it points.
  package static func exists(_ path: String) throws(StoreError) -> Bool { try kind(path) != nil }

  /// What is at the path, or `nil` if nothing is.
  package static func kind(_ path: String) throws(StoreError) -> Kind? {
    try checkPath(path)
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw failure("lstat", path)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .file
    case S_IFDIR: return .directory
    case S_IFLNK: return .link
    default: return .other
    }
  }

  package enum Kind: Sendable {
    case file, directory, link, other
  }

  /// The names in a directory without `.` and `..`, in the order of their bytes. A name that is not UTF-8 is nothing
  /// that a store made and is left out.
  package static func entries(of path: String) throws(StoreError) -> [String] {
    try checkPath(path)
    guard let directory = unsafe opendir(path) else { throw failure("opendir", path) }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(directory) else { break }
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if let name, name != ".", name != ".." { names.append(name) }
    }
    guard errno == 0 else { throw failure("readdir", path) }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Removes a file or a link.
  package static func remove(_ path: String) throws(StoreError) {
    try checkPath(path)
    guard unsafe unlink(path) == 0 else { throw failure("unlink", path) }
  }

  /// Removes an empty directory.
  package static func removeDirectory(_ path: String) throws(StoreError) {
    try checkPath(path)
    guard unsafe rmdir(path) == 0 else { throw failure("rmdir", path) }
  }

  /// Renames in one step. Without `replacing`, something already at `new` is `alreadyExists` and nothing changes.
  package static func rename(_ old: String, to new: String, replacing: Bool) throws(StoreError) {
    try checkPath(old)
    try checkPath(new)
    let code = replacing ? unsafe Glibc.rename(old, new) : renameWithoutReplacing(old, new)
    guard code == 0 else {
      if !replacing && errno == EEXIST { throw .alreadyExists(path: new) }
      throw failure("rename", new)
    }
  }

  /// renameat2(2). The module map of the C library does not show it, because it hides behind a feature macro: it is
  /// looked up by name once.
  private static func renameWithoutReplacing(_ old: String, _ new: String) -> Int32 {
    guard let call = unsafe renameat2 else {
      errno = ENOSYS
      return -1
    }
    let noReplace: UInt32 = 1
    return unsafe call(AT_FDCWD, old, AT_FDCWD, new, noReplace)
  }

  private typealias RenameCall =
    @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32

  private static let renameat2: RenameCall? = {
    guard let symbol = unsafe dlsym(nil, "renameat2") else { return nil }
    return unsafe unsafeBitCast(symbol, to: RenameCall.self)
  }()

  /// Whether this process may write to a file, or make entries in a directory.
  package static func isWritable(_ path: String) -> Bool {
    guard !path.utf8.contains(0) else { return false }
    return unsafe faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0
  }

  /// A path's directory, as far as its text goes: `.` without a slash.
  package static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// C strings end at a zero byte: a path with one inside would name another file.
  static func checkPath(_ path: String) throws(StoreError) {
    if path.isEmpty { throw .invalidInput("an empty path") }
    if path.utf8.contains(0) { throw .invalidInput("a path with a zero byte: \(path.debugDescription)") }
  }

  static func failure(_ operation: String, _ path: String, _ code: Int32 = errno) -> StoreError {
    .io(operation: operation, path: path, code: code)
  }

  /// Calls again as long as a signal interrupts.
  @inline(__always)
  static func retrying<Count: SignedInteger>(_ call: () -> Count) -> Count {
    while true {
      let result = call()
      if result != -1 || errno != EINTR { return result }
    }
  }
}
