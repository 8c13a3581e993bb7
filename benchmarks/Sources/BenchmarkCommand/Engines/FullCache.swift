/// What is asked of a store that keeps full f16 keys and values: one value per user, all keys and then all values, row
/// by row. The numbers are those that ckvdb reconstructs from the same entries, so that every engine's attention must
/// come out the same.

import CFullAttend
import Glibc

/// Makes full keys and values from entries and pools.
struct FullRows {
  static let width = 256
  static let rowByteCount = width * 2
  /// Bits of f16, `m x 254`.
  let pools: (keys: [UInt16], values: [UInt16])

  static func byteCount(positions: Int) -> Int { positions * 2 * rowByteCount }

  /// Writes `byteCount(positions: count)` bytes.
  func write(_ user: Int64, count: Int, to bytes: UnsafeMutableRawPointer) {
    let values = bytes + count * Self.rowByteCount
    pools.keys.withUnsafeBytes { keyPool in
      pools.values.withUnsafeBytes { valuePool in
        for position in 0..<count {
          let entry = Entry(user: user, position: position)
          let place = position * Self.rowByteCount
          Self.write(entry.numbers, keyPool, Int(entry.indices & 1_023), to: bytes + place)
          Self.write(entry.numbers >> 32, valuePool, Int(entry.indices >> 10), to: values + place)
        }
      }
    }
  }

  @inline(__always) private static func write(
    _ user: UInt64, _ pool: UnsafeRawBufferPointer, _ row: Int, to bytes: UnsafeMutableRawPointer
  ) {
    bytes.storeBytes(of: UInt32(truncatingIfNeeded: user), as: UInt32.self)
    memcpy(bytes + 4, pool.baseAddress! + row * (rowByteCount - 4), rowByteCount - 4)
  }
}

/// A store of full keys and values. Not to be used by two threads at once.
protocol FullCache: AnyObject {
  var name: String { get }
  /// Stores everything, as fast as it can be done, and brings it into its final form.
  func load(_ population: Population, _ rows: FullRows) throws
  /// Calls `body` with a user's keys and values, which stay where they are until it returns.
  func read(_ user: Int64, _ body: (UnsafeRawPointer) -> Void) throws
  func close() throws
}

/// Attends over full keys and values with the kernel that all peers share. Owns its scratch memory.
final class FullAttention {
  private let count: Int
  private let heads: Int
  private let scores: UnsafeMutablePointer<Float>
  let output: UnsafeMutablePointer<Float>

  init(count: Int, heads: Int) {
    (self.count, self.heads) = (count, heads)
    scores = .allocate(capacity: count * heads)
    output = .allocate(capacity: FullRows.width)
  }

  deinit { scores.deallocate(); output.deallocate() }

  /// The instructions that the kernel uses on this processor.
  static var levelName: String {
    switch full_best_level() {
    case FULL_AVX512: "AVX-512"
    case FULL_AVX2: "AVX2"
    default: "serial"
    }
  }

  /// Attends over `count` keys and then values at `bytes`; the output is in `output`.
  func attend(_ query: [Float], _ bytes: UnsafeRawPointer) {
    full_attend(
      FULL_F16, bytes, bytes + count * FullRows.rowByteCount, count, FullRows.width, heads, query,
      Float(1 / sqrt(Double(FullRows.width / heads))), scores, output)
  }
}
