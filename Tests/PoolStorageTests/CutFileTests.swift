/// Files that are cut after they were opened: whatever is read from them then is an error of the file's role.

import CacheTypes
import Foundation
import PoolStorage
import Testing

@Suite struct CutFileTests {
  private let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  private static let reason = "the file was truncated or became unreadable while it was open"

  private func cut(_ path: String, to length: Int) { #expect(truncate(path, length) == 0) }

  @Test(arguments: [0, 100, 4_096, 20_000, 40_000])
  func `every way to read a file refuses one that was cut`(missing: Int) throws {
    let path = directory.file("input")
    var writer = try SafetensorsWriter(
      path: path,
      tensors: [
        TensorPlan(name: "bytes", dtype: .u8, shape: [9]), TensorPlan(name: "floats", dtype: .f32, shape: [5_000]),
        TensorPlan(name: "integers", dtype: .i64, shape: [2_500]),
      ], metadata: [:])
    try writer.append([UInt8](repeating: 3, count: 9))
    try writer.append([Float](repeating: 1, count: 5_000))
    try writer.append([Int64](repeating: -1, count: 2_500))
    try writer.finish()
    let count = try directory.bytes("input").count
    let file = try SafetensorsFile(path: path, followsLinks: false)
    for place in 0..<4 { #expect(error(reading: file, place) == nil) }
    if missing == 0 { return }
    cut(path, to: count - missing)
    for place in 0..<4 { #expect(error(reading: file, place) == .invalidInput("\(path): \(Self.reason)")) }
  }

  private func error(reading file: SafetensorsFile, _ place: Int) -> StoreError? {
    thrown { () throws(StoreError) in
      switch place {
      case 0: _ = try file.bytes("bytes")
      case 1: _ = try file.floats("floats")
      case 2: _ = try file.integers("integers")
      default: try file.checkWhole()
      }
    }
  }

  @Test func `a pool that was cut is damage when it is verified and when it is checked`() throws {
    var model = ModelFile()
    model.setPart("layers.0.key", d_e: 4, d_u: 2, d_g: 100, m: 256)
    try model.write(to: directory.file("model"))
    let record = try PoolBlob.install(modelFile: directory.file("model"), into: directory.path)
    let path = directory.file(record.name)
    let bytes = try directory.bytes(record.name)
    for length in [0, 50, 4_096, 70_000, record.byteCount - 1] {
      _ = try directory.write(bytes, to: record.name)
      let pool = try PoolBlob.open(directory: directory.path, record: record)
      let used = try PoolBlob.open(directory: directory.path, record: record)
      try used.verify(layer: 0)
      try used.checkWhole()
      cut(path, to: length)
      let expected = StoreError.damaged("\(path): \(Self.reason)")
      #expect(thrown { () throws(StoreError) in try pool.verify(layer: 0) } == expected)
      #expect(thrown { () throws(StoreError) in try pool.verifyAll() } == expected)
      #expect(thrown { () throws(StoreError) in try used.checkWhole() } == expected)
    }
  }
}
