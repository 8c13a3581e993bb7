/// Writing: what is planned, all of it, or nothing.

import CacheTypes
import Foundation
import PoolStorage
import Testing

@Suite struct SafetensorsWriterTests {
  private let directory: TemporaryDirectory
  private let path: String
  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file("out.safetensors")
  }

  private func plan(_ name: String, _ dtype: TensorDType, _ shape: Int...) -> TensorPlan {
    TensorPlan(name: name, dtype: dtype, shape: shape)
  }

  private func read() throws -> SafetensorsFile { try SafetensorsFile(path: path, followsLinks: false) }

  /// What making a writer with that plan throws.
  private func refusal(_ tensors: [TensorPlan]) -> String {
    reason(thrown { () throws(StoreError) in _ = try SafetensorsWriter(path: path, tensors: tensors, metadata: [:]) })
  }

  @Test func `numbers of every type come back`() throws {
    let integers: [TensorDType] = [.u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64]
    let floats: [TensorDType] = [.f32, .f16, .bf16]
    var writer = try SafetensorsWriter(
      path: path, tensors: (integers + floats).map { TensorPlan(name: $0.name, dtype: $0, shape: [3]) },
      metadata: ["k": "v"])
    for _ in integers { try writer.append([0, 1, 127] as [Int64]) }
    for _ in floats { try writer.append([-1.5, 0, 0.25] as [Float]) }
    try writer.finish()
    let file = try read()
    #expect(file.metadata == ["k": "v"])
    for dtype in integers { #expect(try file.integers(dtype.name) == [0, 1, 127]) }
    for dtype in floats { #expect(try file.floats(dtype.name) == [-1.5, 0, 0.25]) }
  }

  @Test func `the extremes of every integer type come back`() throws {
    let extremes: [(TensorDType, [Int64])] = [
      (.u8, [0, 255]), (.i8, [-128, 127]), (.u16, [0, 65535]), (.i16, [-32768, 32767]),
      (.u32, [0, 4_294_967_295]), (.i32, [-2_147_483_648, 2_147_483_647]), (.u64, [0, .max]), (.i64, [.min, .max]),
    ]
    var writer = try SafetensorsWriter(
      path: path, tensors: extremes.map { TensorPlan(name: $0.0.name, dtype: $0.0, shape: [2]) }, metadata: [:])
    for (_, numbers) in extremes { try writer.append(numbers) }
    try writer.finish()
    let file = try read()
    for (dtype, numbers) in extremes { #expect(try file.integers(dtype.name) == numbers) }
  }

  @Test func `any text can be a name, a key and a value`() throws {
    let text = "\"\\/\u{0}\u{1F}\n\u{7F}é€😀{}[]:, "
    var writer = try SafetensorsWriter(path: path, tensors: [plan(text, .u8, 1)], metadata: [text: text])
    try writer.append([9] as [UInt8])
    try writer.finish()
    let file = try read()
    #expect(file.metadata == [text: text])
    #expect(try file.bytes(text) == [9])
  }

  @Test(arguments: [1, 8, 64, 4096])
  func `the first tensor starts on the alignment`(_ alignment: Int) throws {
    for length in 1...70 {
      let name = String(repeating: "n", count: length)
      var writer = try SafetensorsWriter(path: path, tensors: [plan(name, .u8, 1)], metadata: [:], alignment: alignment)
      try writer.append([1] as [UInt8])
      try writer.finish()
      #expect(try read().info(name)!.byteRange.lowerBound.isMultiple(of: alignment))
    }
  }

  @Test func `pieces of every size make the same file`() throws {
    let count = 3_000_001
    let data = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let plans = [
      plan("a", .u8, 5), plan("none", .f32, 0), plan("b", .u8, count - 7), plan("c", .u8, 2), plan("last", .u8, 0),
    ]
    for size in [1009, 1 << 20, (1 << 20) + 1, count] {
      var writer = try SafetensorsWriter(path: path, tensors: plans, metadata: [:])
      var start = 0
      while start < count {
        let end = min(start + size, count)
        try writer.append(Array(data[start..<end]))
        start = end
      }
      try writer.finish()
      let file = try read()
      let read = try plans.flatMap { try file.bytes($0.name)! }
      #expect(read == data, "pieces of \(size)")
    }
  }

  @Test func `a plan without tensors is the smallest file`() throws {
    try SafetensorsWriter(path: path, tensors: [], metadata: [:]).finish()
    #expect(try directory.bytes("out.safetensors") == rawFile("{}      "))
  }

  @Test func `tensors without bytes need none`() throws {
    try SafetensorsWriter(path: path, tensors: [plan("a", .f32, 0, 4), plan("b", .i8, 3, 0)], metadata: [:]).finish()
    #expect(try read().tensors.map(\.shape) == [[0, 4], [3, 0]])
  }

  @Test func `the same plan is the same bytes whatever the order of the metadata`() throws {
    let keys = (0..<40).map { "key \($0)" }
    var files: Set<[UInt8]> = []
    for _ in 0..<5 {
      let metadata = Dictionary(uniqueKeysWithValues: keys.shuffled().map { ($0, "v") })
      try SafetensorsWriter(path: path, tensors: [], metadata: metadata).finish()
      files.insert(try directory.bytes("out.safetensors"))
    }
    #expect(files.count == 1)
  }

  // MARK: Nothing halfway

  @Test func `nothing is at the path before finish, and no other name after it`() throws {
    var writer = try SafetensorsWriter(path: path, tensors: [plan("a", .u8, 1)], metadata: [:])
    let names = try directory.names
    #expect(names.count == 1 && names[0].hasPrefix(SafetensorsWriter.temporaryPrefix))
    try writer.append([1] as [UInt8])
    try writer.finish()
    #expect(try directory.names == ["out.safetensors"])
  }

  @Test func `a writer that is dropped leaves the old file and nothing else`() throws {
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path))
    do {
      var writer = try SafetensorsWriter(path: path, tensors: [plan("a", .u8, 2)], metadata: [:])
      try writer.append([1] as [UInt8])
    }
    #expect(try directory.names == ["out.safetensors"])
    #expect(try directory.bytes("out.safetensors") == [1, 2, 3])
  }

  @Test func `missing bytes are refused by finish and leave nothing`() throws {
    var writer = try SafetensorsWriter(path: path, tensors: [plan("a", .u8, 1), plan("b", .f32, 2)], metadata: [:])
    try writer.append([1, 0, 0, 0] as [UInt8])
    do throws(StoreError) {
      try writer.finish()
      Issue.record("finished")
    } catch {
      #expect(error == .invalidInput("\(path): tensor \"b\" has 3 of 8 bytes"))
    }
    #expect(try directory.names.isEmpty)
  }

  @Test func `more bytes than planned are refused and change nothing`() throws {
    var writer = try SafetensorsWriter(path: path, tensors: [plan("a", .u8, 2)], metadata: [:])
    do throws(StoreError) {
      try writer.append([1, 2, 3] as [UInt8])
      Issue.record("taken")
    } catch {
      #expect(error == .invalidInput("\(path): 1 bytes more than the header states"))
    }
    try writer.append([4, 5] as [UInt8])
    try writer.finish()
    #expect(try read().bytes("a") == [4, 5])
  }

  @Test func `numbers that do not fit the tensor are refused and change nothing`() throws {
    var writer = try SafetensorsWriter(path: path, tensors: [plan("a", .u8, 2), plan("f", .f16, 1)], metadata: [:])
    let path = path
    func refused(
      _ expected: String, _ target: inout SafetensorsWriter,
      _ body: (inout SafetensorsWriter) throws(StoreError) -> Void
    ) {
      do throws(StoreError) {
        try body(&target)
        Issue.record("taken, expected: \(expected)")
      } catch {
        #expect(error == .invalidInput("\(path): \(expected)"))
      }
    }
    refused("tensor \"a\" of U8 cannot hold 256", &writer) { (w) throws(StoreError) in
      try w.append([1, 256] as [Int64])
    }
    refused("tensor \"a\" of U8 cannot hold -1", &writer) { (w) throws(StoreError) in try w.append([-1] as [Int64]) }
    refused("3 numbers for tensor \"a\", which has room for 2", &writer) { (w) throws(StoreError) in
      try w.append([1, 2, 3] as [Int64])
    }
    refused("floating-point numbers for tensor \"a\" of U8", &writer) { (w) throws(StoreError) in
      try w.append([1] as [Float])
    }
    try writer.append([7, 8] as [Int64])
    refused("integers for tensor \"f\" of F16", &writer) { (w) throws(StoreError) in try w.append([1] as [Int64]) }
    try writer.append([0.5] as [Float])
    refused("every tensor is complete", &writer) { (w) throws(StoreError) in try w.append([1] as [Float]) }
    try writer.finish()
    #expect(try read().integers("a") == [7, 8])
    #expect(try read().floats("f") == [0.5])
  }

  @Test func `a plan that no header can state is refused before a file is made`() throws {
    #expect(refusal([plan("a", .u8, 1), plan("a", .u8, 1)]) == "two tensors of the name \"a\"")
    #expect(refusal([plan("__metadata__", .u8, 1)]) == "two tensors of the name \"__metadata__\"")
    #expect(refusal([plan("a", .u8, -1)]).contains("does not fit 63 bits"))
    #expect(refusal([plan("a", .f64, 1 << 61)]).contains("does not fit 63 bits"))
    #expect(refusal([plan("a", .u8, .max), plan("b", .u8, 1)]).contains("larger than 63 bits"))
    #expect(
      refusal([TensorPlan(name: "a", dtype: .u8, shape: Array(repeating: 1, count: 65))]).contains("the limit is 64"))
    #expect(try directory.names.isEmpty)
  }

  @Test func `the file is the owner's alone whatever the umask`() async {
    // In a child: the umask is the process's.
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      for mask: mode_t in [0, 0o777] {
        umask(mask)
        try SafetensorsWriter(path: directory.file("out"), tensors: [], metadata: [:]).finish()
        var status = stat()
        precondition(lstat(directory.file("out"), &status) == 0)
        precondition(status.st_mode & 0o7777 == 0o600)
      }
    }
  }

  @Test func `finish replaces a link, not what it points to`() throws {
    let other = try directory.write([1, 2, 3], to: "other")
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: other)
    try SafetensorsWriter(path: path, tensors: [], metadata: [:]).finish()
    #expect(try directory.bytes("other") == [1, 2, 3])
    #expect(try read().tensors.isEmpty)
  }

  @Test func `a directory that is missing is an error of the operating system`() throws {
    let error = thrown { () throws(StoreError) in
      _ = try SafetensorsWriter(path: directory.path + "/missing/out", tensors: [], metadata: [:])
    }
    guard case .io(operation: "open", _, code: ENOENT) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func `a full disk is an error that stays, and leaves nothing`() async {
    // In a child: a limit on the size of files stands for the full disk, and it is the process's.
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 1_500_000, rlim_max: 1_500_000)
      precondition(setrlimit(__rlimit_resource_t(UInt32(RLIMIT_FSIZE.rawValue)), &limit) == 0)
      let path = directory.file("out")
      var failures: [StoreError] = []
      do throws(StoreError) {
        let plan = TensorPlan(name: "a", dtype: .u8, shape: [4_000_000])
        var writer = try SafetensorsWriter(path: path, tensors: [plan], metadata: [:])
        for _ in 0..<2 {
          do throws(StoreError) { try writer.append([UInt8](repeating: 1, count: 2_000_000)) } catch {
            failures.append(error)
          }
        }
        try writer.finish()
      } catch {
        failures.append(error)
      }
      precondition(failures.count == 3)
      for failure in failures {
        guard case .io(operation: "write", _, code: EFBIG) = failure else { fatalError("\(failure)") }
      }
      let names = try directory.names
      precondition(names.isEmpty)
    }
  }
}
