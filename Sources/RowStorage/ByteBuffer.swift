/// A growable run of bytes with a stable address: the codec packs rows into it, SQLite reads them from it. It is
/// reused from call to call, so that packing a row allocates nothing.

/// Owns scratch bytes.
@safe package struct ByteBuffer: ~Copyable {
  package private(set) var count = 0
  private var storage: UnsafeMutableRawBufferPointer

  package init(capacity: Int = 4_096) {
    unsafe storage = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit { unsafe storage.deallocate() }

  var capacity: Int { unsafe storage.count }

  package mutating func removeAll() { count = 0 }

  /// The bytes so far. The address holds until the next call that appends.
  package var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(rebasing: storage[0..<count]) }

  /// Adds `byteCount` zero bytes and returns them for filling.
  @inline(__always)
  package mutating func extend(by byteCount: Int) -> UnsafeMutableRawBufferPointer {
    if unsafe count + byteCount > storage.count { grow(toHold: count + byteCount) }
    let added = unsafe UnsafeMutableRawBufferPointer(rebasing: storage[count..<count + byteCount])
    if byteCount > 0 { unsafe added.initializeMemory(as: UInt8.self, repeating: 0) }
    count += byteCount
    return unsafe added
  }

  @inline(__always)
  package mutating func append<Integer: FixedWidthInteger>(_ value: Integer) {
    let place = unsafe extend(by: MemoryLayout<Integer>.size)
    unsafe place.storeBytes(of: value.littleEndian, as: Integer.self)
  }

  package mutating func append(_ source: UnsafeRawBufferPointer) {
    if unsafe count + source.count > storage.count { grow(toHold: count + source.count) }
    unsafe UnsafeMutableRawBufferPointer(rebasing: storage[count...]).copyMemory(from: source)
    count += source.count
  }

  private mutating func grow(toHold needed: Int) {
    let larger = unsafe UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(needed, storage.count + storage.count / 2), alignment: 16)
    unsafe larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[0..<count]))
    unsafe storage.deallocate()
    unsafe storage = larger
  }
}
