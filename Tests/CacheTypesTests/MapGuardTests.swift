/// Mapped files that are cut while they are read: zeros and a mark, never the end of the process; and everybody else's
/// SIGBUS as it was.

import CacheTypes
import Foundation
import Testing

@Suite struct MapGuardTests {
  private static let page = Int(sysconf(Int32(_SC_PAGESIZE)))

  /// A file that goes away, mapped.
  private final class MappedFile {
    let path = NSTemporaryDirectory() + "ckvdb-map-" + UUID().uuidString

    init(_ bytes: [UInt8]) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }
    deinit { unlink(path) }

    func map() throws -> TensorMemory { try OpenFile(path, .reading(followsLinks: false)).map() }
    func cut(to count: Int) { #expect(truncate(path, count) == 0) }
  }

  private func sum(_ memory: TensorMemory) -> Int { memory.withUnsafeBytes { $0.reduce(0) { $0 + Int($1) } } }

  @Test func `a file that nobody cuts stays whole`() throws {
    let file = try MappedFile(Array(repeating: 1, count: Self.page * 3 + 5))
    let memory = try file.map()
    #expect(memory.isWhole)
    #expect(sum(memory) == Self.page * 3 + 5)
    #expect(memory.isWhole)
  }

  @Test func `every length that a file is cut to is noticed, and what is left reads as it was`() throws {
    let count = Self.page * 3 + 1_000
    for length in Array(stride(from: 0, to: count, by: 509)) + [Self.page, Self.page * 3, count - 1] {
      let file = try MappedFile(Array(repeating: 1, count: count))
      let memory = try file.map()
      file.cut(to: length)
      #expect(sum(memory) == length, "\(length) bytes")
      #expect(!memory.isWhole, "\(length) bytes")
    }
  }

  @Test func `a cut is noticed before anything is read, and for ever`() throws {
    let file = try MappedFile(Array(repeating: 1, count: Self.page + 10))
    let memory = try file.map()
    file.cut(to: Self.page + 9)
    #expect(!memory.isWhole)
    // The same bytes again: what was read in between was not them.
    try Data(Array(repeating: 1, count: Self.page + 10)).write(to: URL(fileURLWithPath: file.path))
    #expect(!memory.isWhole)
    #expect(try file.map().isWhole)
  }

  @Test func `a cut that takes nothing but zeros from the last page changes nothing`() throws {
    let file = try MappedFile(Array(repeating: 1, count: 100) + Array(repeating: 0, count: 50))
    let memory = try file.map()
    file.cut(to: 100)
    #expect(sum(memory) == 100 && memory.isWhole)
    file.cut(to: 99)
    #expect(sum(memory) == 99 && !memory.isWhole)
  }

  @Test func `one file's cut is not another's`() throws {
    let files = try (0..<20).map { _ in try MappedFile(Array(repeating: 1, count: Self.page * 2)) }
    let memories = try files.map { try $0.map() }
    for index in stride(from: 0, to: 20, by: 3) { files[index].cut(to: Self.page) }
    for (index, memory) in memories.enumerated() {
      #expect(sum(memory) == Self.page * (index % 3 == 0 ? 1 : 2))
      #expect(memory.isWhole == (index % 3 != 0))
    }
  }

  @Test func `mappings come and go on many threads while files are cut`() async throws {
    let rounds = 300
    let wrong = await withTaskGroup(of: Int.self) { group in
      for worker in 0..<8 {
        group.addTask {
          var wrong = 0
          for round in 0..<rounds {
            guard let file = try? MappedFile(Array(repeating: 1, count: Self.page * 2)), let memory = try? file.map()
            else { return rounds }
            let isCut = (round + worker) % 2 == 0
            if isCut { file.cut(to: 0) }
            let sum = memory.withUnsafeBytes { $0.reduce(0) { $0 + Int($1) } }
            if memory.isWhole == isCut || sum != (isCut ? 0 : Self.page * 2) { wrong += 1 }
          }
          return wrong
        }
      }
      return await group.reduce(0, +)
    }
    #expect(wrong == 0)
  }

  @Test func `more mappings than the guard knows are refused as too many open files`() async {
    await #expect(processExitsWith: .exitCode(0)) {
      let path = NSTemporaryDirectory() + "ckvdb-map-\(getpid())"
      try Data([1]).write(to: URL(fileURLWithPath: path))
      defer { unlink(path) }
      var memories: [TensorMemory] = []
      do {
        for _ in 0..<5_000 { memories.append(try OpenFile(path, .reading(followsLinks: false)).map()) }
      } catch {
        let expected = StoreError.io(operation: "mmap", path: path, code: EMFILE)
        guard error as? StoreError == expected, memories.count == 4_096 else { exit(2) }
        memories.removeLast()
        memories.append(try OpenFile(path, .reading(followsLinks: false)).map())
        exit(memories.allSatisfy(\.isWhole) ? 0 : 3)
      }
      exit(1)
    }
  }

  // MARK: Everybody else's SIGBUS

  @Test func `a fault at another address ends the process as before`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      let guarded = try MappedFile([1])
      let memory = try guarded.map()
      faultElsewhere()
      _ = memory.isWhole
    }
  }

  @Test func `a signal that a process sends ends it as before`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      signal(SIGBUS, SIG_DFL)
      let guarded = try MappedFile([1])
      let memory = try guarded.map()
      kill(getpid(), SIGBUS)
      // It may come to another thread, a little later.
      sleep(20)
      _ = memory.isWhole
    }
  }

  @Test func `a signal that was ignored stays ignored, a fault is not`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      signal(SIGBUS, SIG_IGN)
      let guarded = try MappedFile([1])
      let memory = try guarded.map()
      kill(getpid(), SIGBUS)
      guard memory.isWhole else { exit(1) }
      faultElsewhere()
    }
  }

  @Test func `the handler that was there before gets the faults that are not ours, with their address`() async {
    await #expect(processExitsWith: .exitCode(42)) {
      var action = sigaction()
      action.__sigaction_handler.sa_sigaction = { _, info, _ in
        _exit(info?.pointee._sifields._sigfault.si_addr == elsewhere ? 42 : 1)
      }
      action.sa_flags = SA_SIGINFO
      sigaction(SIGBUS, &action, nil)
      let guarded = try MappedFile(Array(repeating: 1, count: 10))
      let memory = try guarded.map()
      guarded.cut(to: 0)
      guard memory.withUnsafeBytes({ $0[3] }) == 0, !memory.isWhole else { exit(2) }
      faultElsewhere()
    }
  }
}

/// Where `faultElsewhere` faults.
nonisolated(unsafe) private var elsewhere: UnsafeMutableRawPointer?

/// Reads a mapped page behind the end of a file that no guard knows.
private func faultElsewhere() {
  let path = NSTemporaryDirectory() + "ckvdb-map-foreign-\(getpid())"
  let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
  unlink(path)
  elsewhere = mmap(nil, 4_096, PROT_READ, MAP_SHARED, descriptor, 0)
  let byte = elsewhere?.load(as: UInt8.self)
  exit(byte == 0 ? 98 : 99)
}
