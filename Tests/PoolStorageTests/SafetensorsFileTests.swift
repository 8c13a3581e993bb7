/// Reading what was written, and nothing else.

import CacheTypes
import Foundation
import PoolStorage
import Testing

@Suite struct SafetensorsFileTests {
  private let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  private static let header =
    #"{"__metadata__":{"note":"\u00e9\n"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"#
    + #""e":{"dtype":"I64","shape":[0],"data_offsets":[8,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}"#
  private static var small: [UInt8] {
    rawFile(Array(header.utf8), data: [0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 7, 8, 9])
  }

  private func open(_ bytes: [UInt8], _ name: String = "file.safetensors") throws -> SafetensorsFile {
    try SafetensorsFile(path: directory.write(bytes, to: name), followsLinks: false)
  }

  @Test func `a file made by hand is read as it says`() throws {
    let file = try open(Self.small)
    #expect(file.metadata == ["note": "é\n"])
    #expect(file.tensors.map(\.name) == ["w", "e", "b"])
    #expect(try file.floats("w") == [1, -2])
    #expect(try file.integers("e") == [])
    #expect(try file.integers("b") == [7, 8, 9])
    #expect(try file.bytes("b") == [7, 8, 9])
    #expect(try file.tensor("w")?.shape == [2, 1])
    #expect(file.info("w")?.byteRange == 8 + Self.header.utf8.count..<16 + Self.header.utf8.count)
    #expect(file.withUnsafeBytes { Array($0) } == Self.small)
  }

  @Test func `a name that is not there is nil everywhere`() throws {
    let file = try open(Self.small)
    #expect(file.info("x") == nil)
    #expect(try file.tensor("x") == nil)
    #expect(try file.floats("x") == nil)
    #expect(try file.integers("x") == nil)
    #expect(try file.bytes("x") == nil)
  }

  @Test func `an object without members is a file without tensors`() throws {
    for header in ["{}", "{ }", "{}    ", #"{"__metadata__":{}}"#, #"{ "__metadata__" : { } }"#] {
      let file = try open(rawFile(header))
      #expect(file.tensors.isEmpty && file.metadata.isEmpty)
    }
  }

  @Test func `space of every JSON kind may stand between tokens`() throws {
    let header = "{\n \"a\" :\t{ \"shape\" : [ 1 , 2 ] ,\r\n\"data_offsets\" : [ 0 , 4 ] , \"dtype\" : \"F16\" } }  "
    let file = try open(rawFile(header, dataByteCount: 4))
    #expect(file.info("a")?.shape == [1, 2])
  }

  @Test func `every escape of JSON is understood`() throws {
    let header = #"{"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#
    let file = try open(rawFile(header))
    #expect(file.tensors.map(\.name) == ["\"\\/\u{8}\u{C}\n\r\tAé€😀"])
  }

  @Test func `names that are the same text in other bytes are two tensors`() throws {
    let entry = #"":{"dtype":"U8","shape":[1],"data_offsets":"#
    let file = try open(rawFile(Array("{\"\u{E9}\(entry)[0,1]},\"e\u{301}\(entry)[1,2]}}".utf8), data: [1, 2]))
    #expect(try file.integers("\u{E9}") == [1])
    #expect(try file.integers("e\u{301}") == [2])
  }

  @Test func `the order of tensors is that of their bytes, not of the header`() throws {
    let header =
      #"{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
      + #""c":{"dtype":"U8","shape":[0,5],"data_offsets":[1,1]}}"#
    #expect(try open(rawFile(header, dataByteCount: 2)).tensors.map(\.name) == ["a", "c", "b"])
  }

  @Test func `every truncation is refused`() throws {
    for length in 0..<Self.small.count {
      let path = try directory.write(Array(Self.small.prefix(length)), to: "cut")
      let error = thrown { () throws(StoreError) in _ = try SafetensorsFile(path: path, followsLinks: false) }
      guard case .invalidInput = error else {
        Issue.record("\(length) bytes: \(String(describing: error))")
        continue
      }
    }
  }

  @Test func `a byte more is refused`() throws {
    #expect(throws: StoreError.self) { try open(Self.small + [0]) }
  }

  /// Whatever is accepted must be a valid file: its tensors lie side by side from the header to the end, and some of
  /// them, written anew and read again, are the same.
  @Test func `every bit of a header flipped is refused or another valid file`() throws {
    var accepted = 0
    for place in 0..<8 + Self.header.utf8.count {
      for bit in 0..<8 {
        var bytes = Self.small
        bytes[place] ^= 1 << bit
        guard let file = try? open(bytes, "flipped") else { continue }
        accepted += 1
        let start = 8 + bytes[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        var end = start
        for tensor in file.tensors {
          #expect(tensor.byteRange.lowerBound == end)
          #expect(tensor.byteRange.count == tensor.shape.reduce(tensor.dtype.byteCount, *))
          end = tensor.byteRange.upperBound
        }
        #expect(end == bytes.count)
        // Each of these costs two syncs of the disk.
        if accepted % 16 != 0 { continue }
        var writer = try SafetensorsWriter(
          path: directory.file("again"),
          tensors: file.tensors.map { TensorPlan(name: $0.name, dtype: $0.dtype, shape: $0.shape) },
          metadata: file.metadata)
        try writer.append(Array(bytes[start...]))
        try writer.finish()
        let again = try SafetensorsFile(path: directory.file("again"), followsLinks: false)
        #expect(again.metadata == file.metadata)
        #expect(
          again.tensors.map { [$0.name, $0.dtype.name, "\($0.shape)"] }
            == file.tensors.map { [$0.name, $0.dtype.name, "\($0.shape)"] })
      }
    }
    // Names, metadata and the like may change; most of a header may not.
    #expect(accepted > 10)
  }

  @Test func `floats widen exactly from every floating-point type`() throws {
    let header =
      #"{"s":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"h":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"#
      + #""b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]}}"#
    let data: [UInt8] = [0, 0, 0xC0, 0x3F, 0, 0, 0, 0x80, 0x00, 0x3E, 0x01, 0x00, 0xC0, 0x3F, 0x80, 0xFF]
    let file = try open(rawFile(Array(header.utf8), data: data))
    #expect(try file.floats("s") == [1.5, -0.0])
    #expect(try file.floats("h") == [1.5, 0x1p-24])
    #expect(try file.floats("b") == [1.5, -.infinity])
  }

  @Test func `integers widen from every integer type`() throws {
    let types: [(TensorDType, [UInt8], Int64)] = [
      (.u8, [0xFF], 255), (.i8, [0xFF], -1), (.u16, [0xFE, 0xFF], 65534), (.i16, [0xFE, 0xFF], -2),
      (.u32, [0, 0, 0, 0x80], 0x8000_0000), (.i32, [0, 0, 0, 0x80], -0x8000_0000),
      (.u64, [0xFF, 0, 0, 0, 0, 0, 0, 0x7F], 0x7F00_0000_0000_00FF),
      (.i64, [0, 0, 0, 0, 0, 0, 0, 0x80], .min),
    ]
    for (dtype, bytes, expected) in types {
      let header = #"{"a":{"dtype":"\#(dtype.name)","shape":[1],"data_offsets":[0,\#(bytes.count)]}}"#
      let file = try open(rawFile(Array(header.utf8), data: bytes))
      #expect(try file.integers("a") == [expected], "\(dtype)")
    }
  }

  @Test func `an unsigned integer beyond 63 bits is refused with its value`() throws {
    let header = #"{"a":{"dtype":"U64","shape":[2],"data_offsets":[0,16]}}"#
    let file = try open(rawFile(Array(header.utf8), data: Array(repeating: 0, count: 15) + [0x80]))
    let error = thrown { () throws(StoreError) in _ = try file.integers("a") }
    #expect(
      reason(error).hasSuffix(
        "tensor \"a\" at index 1 is 9223372036854775808, the largest integer is 9223372036854775807"))
  }

  @Test func `numbers of the wrong kind are refused with both types`() throws {
    let file = try open(Self.small)
    #expect(
      reason(thrown { () throws(StoreError) in _ = try file.integers("w") }).hasSuffix(
        "tensor \"w\" is F32, expected an integer type"))
    #expect(
      reason(thrown { () throws(StoreError) in _ = try file.floats("b") }).hasSuffix(
        "tensor \"b\" is U8, expected F32, F16 or BF16"))
    #expect(
      reason(thrown { () throws(StoreError) in _ = try file.tensor("e") }).hasSuffix(
        "tensor \"e\" is I64, expected F32, F16 or BF16"))
  }

  @Test func `a tensor outlives the file object`() throws {
    var tensor: Tensor?
    do { tensor = try open(Self.small).tensor("w") }
    #expect(tensor?.floats() == [1, -2])
  }

  @Test func `a link is followed only if asked for`() throws {
    let path = try directory.write(Self.small, to: "real")
    let link = directory.file("link")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
    #expect(try SafetensorsFile(path: link, followsLinks: true).tensors.count == 3)
    #expect(throws: StoreError.io(operation: "open", path: link, code: ELOOP)) {
      try SafetensorsFile(path: link, followsLinks: false)
    }
  }

  @Test func `what is no regular file is refused at once`() throws {
    let pipe = directory.file("pipe")
    #expect(mkfifo(pipe, 0o600) == 0)
    for path in [pipe, directory.path, "/dev/null"] {
      #expect(throws: StoreError.invalidInput("\(path) is not a regular file")) {
        try SafetensorsFile(path: path, followsLinks: true)
      }
    }
  }

  @Test func `a path that is missing, empty or cut by a zero byte is an error`() throws {
    let missing = directory.file("missing")
    #expect(throws: StoreError.io(operation: "open", path: missing, code: ENOENT)) {
      try SafetensorsFile(path: missing, followsLinks: true)
    }
    let real = try directory.write(Self.small, to: "real")
    for path in ["", real + "\0.safetensors"] {
      let error = thrown { () throws(StoreError) in _ = try SafetensorsFile(path: path, followsLinks: true) }
      guard case .invalidInput = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
  }
}
