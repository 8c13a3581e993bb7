/// A row's checksum covers what the row is as well as what it holds: payload format, generation, user, position and
/// count, then the payload. A payload that turns up under another key is damage.

internal import CacheTypes

/// The 64-bit XXH3 of a row: the payload's hash, seeded with the hash of the row's identity.
package enum RowChecksum {
  /// The payload format that rows of this version use.
  package static let payloadFormat: UInt8 = 1

  /// The checksum of the row at `place` with this payload.
  @inline(__always)
  package static func of(_ place: RowPlace, _ payload: UnsafeRawBufferPointer) -> Int64 {
    unsafe withUnsafeTemporaryAllocation(byteCount: 22 + UserID.byteCountLimit, alignment: 8) { identity in
      unsafe identity.storeBytes(of: payloadFormat, toByteOffset: 0, as: UInt8.self)
      unsafe identity.storeBytes(
        of: UInt32(truncatingIfNeeded: place.generation).littleEndian, toByteOffset: 1, as: UInt32.self)
      unsafe identity.storeBytes(of: Int64(place.position).littleEndian, toByteOffset: 5, as: Int64.self)
      unsafe identity.storeBytes(
        of: UInt32(truncatingIfNeeded: place.count).littleEndian, toByteOffset: 13, as: UInt32.self)
      var byteCount = 18
      switch place.user {
      case .integer(let value):
        unsafe identity.storeBytes(of: 0, toByteOffset: 17, as: UInt8.self)
        unsafe identity.storeBytes(of: value.littleEndian, toByteOffset: 18, as: Int64.self)
        byteCount += 8
      case .bytes(let bytes):
        unsafe identity.storeBytes(of: 1, toByteOffset: 17, as: UInt8.self)
        for (index, byte) in bytes.enumerated() { unsafe identity[18 + index] = byte }
        byteCount += bytes.count
      }
      let seed = unsafe Checksum.xxh3(UnsafeRawBufferPointer(rebasing: identity[0..<byteCount]))
      return Int64(bitPattern: unsafe Checksum.xxh3(payload, seed: seed))
    }
  }
}
