/// XXH3 of bytes: rows, chunks and models carry it. It finds damage; it does not stop a forger.

internal import CXXHash

/// 64-bit and 128-bit XXH3, from the system's libxxhash.
package enum Checksum {
  @inline(__always)
  package static func xxh3(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
    unsafe ckv_xxh3_64(bytes.baseAddress, bytes.count, seed)
  }

  package static func xxh3(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
    unsafe bytes.withUnsafeBytes { unsafe xxh3($0, seed: seed) }
  }

  /// The 128-bit digest, as 16 bytes, most significant first: what `xxh128sum` prints.
  package static func xxh128(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    let hash = unsafe ckv_xxh3_128(bytes.baseAddress, bytes.count)
    var digest: [UInt8] = []
    for half in [hash.high64, hash.low64] {
      for shift in stride(from: 56, through: 0, by: -8) { digest.append(UInt8(truncatingIfNeeded: half >> shift)) }
    }
    return digest
  }
}
