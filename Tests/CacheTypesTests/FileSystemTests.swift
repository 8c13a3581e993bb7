/// The calls that ask the operating system about files: what they do, and what they say when they are refused.

import CacheTypes
import Foundation
import Testing

@Suite struct FileSystemTests {
  private final class Directory {
    let path = NSTemporaryDirectory() + "ckvdb-files-" + UUID().uuidString
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
  }

  private let directory: Directory
  init() throws { directory = try Directory() }

  private func path(_ name: String) -> String { directory.path + "/" + name }

  private func make(_ name: String, _ bytes: [UInt8] = []) throws {
    let file = try OpenFile(path(name), .creating)
    try bytes.withUnsafeBytes { try file.write($0) }
  }

  private func bytes(_ name: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path(name))))
  }

  private func mode(_ path: String) -> mode_t {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
  }

  // MARK: Files

  @Test func `a new file is the owner's alone and never replaces another`() throws {
    try make("a", [1, 2, 3])
    #expect(mode(path("a")) == 0o600)
    #expect(throws: StoreError.alreadyExists(path: path("a"))) { _ = try OpenFile(path("a"), .creating) }
    #expect(try bytes("a") == [1, 2, 3])
  }

  @Test func `a dangling link is not created through`() throws {
    try FileManager.default.createSymbolicLink(atPath: path("link"), withDestinationPath: path("target"))
    #expect(throws: StoreError.alreadyExists(path: path("link"))) { _ = try OpenFile(path("link"), .creating) }
    #expect(try !FileSystem.exists(path("target")))
  }

  @Test func `an existing file is not updated through a link`() throws {
    try make("a")
    try FileManager.default.createSymbolicLink(atPath: path("link"), withDestinationPath: path("a"))
    #expect(throws: StoreError.io(operation: "open", path: path("link"), code: ELOOP)) {
      _ = try OpenFile(path("link"), .updating)
    }
  }

  @Test func `what is written at an offset is read at it, and the end of the file is short`() throws {
    let file = try OpenFile(path("a"), .creating)
    try [UInt8]([1, 2, 3, 4]).withUnsafeBytes { try file.write($0, at: 3) }
    try file.sync()
    #expect(try file.byteCount() == 7)
    var buffer = [UInt8](repeating: 9, count: 6)
    #expect(try buffer.withUnsafeMutableBytes { try file.read(into: $0, at: 2) } == 5)
    #expect(buffer == [0, 1, 2, 3, 4, 9])
    #expect(try buffer.withUnsafeMutableBytes { try file.read(into: $0, at: 100) } == 0)
  }

  @Test func `a mapping holds the file's bytes and outlives the file object`() throws {
    var memory: TensorMemory?
    do {
      try make("a", [5, 6, 7])
      memory = try OpenFile(path("a"), .reading(followsLinks: false)).map()
    }
    #expect(memory?.withUnsafeBytes { Array($0) } == [5, 6, 7])
    try make("empty")
    #expect(try OpenFile(path("empty"), .reading(followsLinks: false)).map().byteCount == 0)
  }

  @Test func `writing to a file that was opened for reading is an error with errno`() throws {
    try make("a")
    let file = try OpenFile(path("a"), .reading(followsLinks: false))
    do throws(StoreError) {
      try [UInt8]([1]).span.bytes.withUnsafeBytes { (bytes) throws(StoreError) in try file.write(bytes) }
      Issue.record("written")
    } catch {
      #expect(error == .io(operation: "write", path: path("a"), code: EBADF))
    }
  }

  // MARK: Names

  @Test func `a new directory is the owner's alone and never replaces anything`() throws {
    try FileSystem.makeDirectory(path("d"))
    #expect(mode(path("d")) == 0o700)
    #expect(throws: StoreError.alreadyExists(path: path("d"))) { try FileSystem.makeDirectory(path("d")) }
    #expect(throws: StoreError.io(operation: "mkdir", path: path("x/y"), code: ENOENT)) {
      try FileSystem.makeDirectory(path("x/y"))
    }
  }

  @Test func `a directory is resolved to a path without links`() throws {
    try FileSystem.makeDirectory(path("real"))
    try FileManager.default.createSymbolicLink(atPath: path("way"), withDestinationPath: "real")
    #expect(try FileSystem.resolve(path("way")) == FileSystem.resolve(directory.path) + "/real")
    #expect(try FileSystem.resolve(path("way/../real/.")) == FileSystem.resolve(path("real")))
    #expect(throws: StoreError.io(operation: "realpath", path: path("nothing"), code: ENOENT)) {
      try FileSystem.resolve(path("nothing"))
    }
  }

  @Test func `modes do not depend on the umask`() async {
    // In a child: the umask is the process's.
    await #expect(processExitsWith: .success) {
      let directory = NSTemporaryDirectory() + "ckvdb-umask-" + UUID().uuidString
      defer { try? FileManager.default.removeItem(atPath: directory) }
      umask(0o777)
      try FileSystem.makeDirectory(directory)
      _ = try OpenFile(directory + "/a", .creating)
      var status = stat()
      precondition(lstat(directory, &status) == 0 && status.st_mode & 0o7777 == 0o700)
      precondition(lstat(directory + "/a", &status) == 0 && status.st_mode & 0o7777 == 0o600)
    }
  }

  @Test func `kinds and lengths are those of the entry itself`() throws {
    try make("a", [1, 2, 3])
    try FileSystem.makeDirectory(path("d"))
    try FileManager.default.createSymbolicLink(atPath: path("dangling"), withDestinationPath: "nowhere")
    #expect(mkfifo(path("pipe"), 0o600) == 0)
    #expect(try FileSystem.byteCount(path("a")) == 3)
    let kinds: [(String, FileSystem.Kind?)] = [
      ("a", .file), ("d", .directory), ("dangling", .link), ("pipe", .other), ("missing", nil), ("a/b", nil),
    ]
    for (name, kind) in kinds {
      #expect(try FileSystem.kind(path(name)) == kind, "\(name)")
      #expect(try FileSystem.exists(path(name)) == (kind != nil), "\(name)")
    }
    #expect(throws: StoreError.io(operation: "lstat", path: path("missing"), code: ENOENT)) {
      try FileSystem.byteCount(path("missing"))
    }
  }

  @Test func `entries are all names in the order of their bytes`() throws {
    for name in ["b", "B", "a", ".hidden", "é", "ab"] { try make(name) }
    #expect(try FileSystem.entries(of: directory.path) == [".hidden", "B", "a", "ab", "b", "é"])
    #expect(throws: StoreError.io(operation: "opendir", path: path("missing"), code: ENOENT)) {
      try FileSystem.entries(of: path("missing"))
    }
  }

  @Test func `a long name is listed whole`() throws {
    let name = String(repeating: "n", count: 255)
    try make(name)
    #expect(try FileSystem.entries(of: directory.path) == [name])
  }

  @Test func `renaming replaces only if told to`() throws {
    try make("a", [1])
    try make("b", [2])
    #expect(throws: StoreError.alreadyExists(path: path("b"))) {
      try FileSystem.rename(path("a"), to: path("b"), replacing: false)
    }
    #expect(try bytes("a") == [1] && bytes("b") == [2])
    try FileSystem.rename(path("a"), to: path("c"), replacing: false)
    try FileSystem.rename(path("c"), to: path("b"), replacing: true)
    #expect(try FileSystem.entries(of: directory.path) == ["b"])
    #expect(try bytes("b") == [1])
    #expect(throws: StoreError.io(operation: "rename", path: path("z"), code: ENOENT)) {
      try FileSystem.rename(path("y"), to: path("z"), replacing: false)
    }
  }

  @Test func `a directory is not renamed over an empty one`() throws {
    try FileSystem.makeDirectory(path("d"))
    try FileSystem.makeDirectory(path("e"))
    #expect(throws: StoreError.alreadyExists(path: path("e"))) {
      try FileSystem.rename(path("d"), to: path("e"), replacing: false)
    }
    #expect(try FileSystem.entries(of: directory.path) == ["d", "e"])
  }

  @Test func `removing takes a link and leaves what it points to`() throws {
    try make("a")
    try FileManager.default.createSymbolicLink(atPath: path("link"), withDestinationPath: path("a"))
    try FileSystem.remove(path("link"))
    #expect(try FileSystem.entries(of: directory.path) == ["a"])
    #expect(throws: StoreError.io(operation: "unlink", path: path("link"), code: ENOENT)) {
      try FileSystem.remove(path("link"))
    }
    try FileSystem.makeDirectory(path("d"))
    try FileSystem.removeDirectory(path("d"))
    #expect(try FileSystem.entries(of: directory.path) == ["a"])
  }

  @Test func `a directory is synced, a file in its place is not`() throws {
    try FileSystem.syncDirectory(directory.path)
    try make("a")
    #expect(throws: StoreError.io(operation: "open", path: path("a"), code: ENOTDIR)) {
      try FileSystem.syncDirectory(path("a"))
    }
  }

  @Test func `writable is what can be written`() throws {
    try make("a")
    #expect(FileSystem.isWritable(path("a")) && FileSystem.isWritable(directory.path))
    #expect(!FileSystem.isWritable(path("missing")))
    #expect(!FileSystem.isWritable(path("a\0")))
  }

  @Test func `a path's directory is its text up to the last slash`() {
    let cases = [("a", "."), ("/a", "/"), ("a/b", "a"), ("/a/b/c", "/a/b"), ("a/", "a"), ("./a", ".")]
    for (path, directory) in cases { #expect(FileSystem.directory(of: path) == directory) }
  }

  @Test func `a path that C would read differently is refused`() {
    for bad in ["", "a\0b"] {
      let calls: [() throws -> Void] = [
        { _ = try OpenFile(bad, .reading(followsLinks: true)) }, { try FileSystem.makeDirectory(bad) },
        { _ = try FileSystem.byteCount(bad) }, { _ = try FileSystem.exists(bad) }, { try FileSystem.remove(bad) },
        { _ = try FileSystem.entries(of: bad) }, { try FileSystem.syncDirectory(bad) },
        { try FileSystem.removeDirectory(bad) },
        { try FileSystem.rename(bad, to: "a", replacing: true) },
        { try FileSystem.rename("a", to: bad, replacing: true) },
      ]
      for call in calls {
        #expect {
          try call()
        } throws: { error in
          if case StoreError.invalidInput = error { true } else { false }
        }
      }
    }
  }
}
