/// A read-only tensor over memory that somebody else owns: a mapped blob, or an array in a test. The tensor keeps the
/// owner alive; nobody gets at the bytes outside a closure. A mapped file may be cut short by somebody else: whoever
/// has read from one asks whether it is still whole before the numbers are believed.

internal import CMapGuard

/// Keeps a region of memory readable, and gives it back once.
@safe package final class TensorMemory: @unchecked Sendable {
  private let start: UnsafeRawPointer?
  package let byteCount: Int
  private let release: @Sendable (UnsafeRawPointer?, Int) -> Void
  /// The number that a mapping has with the guard against SIGBUS.
  private let guardedRange: Int32?

  /// Takes over `bytes`: immutable from now on, handed to `release` exactly once.
  package init(_ bytes: UnsafeRawBufferPointer, release: @escaping @Sendable (UnsafeRawPointer?, Int) -> Void) {
    unsafe start = bytes.baseAddress
    byteCount = bytes.count
    unsafe self.release = release
    guardedRange = nil
  }

  /// Takes over a mapping of a whole file, which from now on reads as zeros where the file ends too early. Its last
  /// byte that is not zero is looked for, which as a rule reads one page.
  ///
  /// - Parameter bytes: 1 or more, from the start of a page on.
  /// - Returns: `nil` if there are too many mappings already, or SIGBUS cannot be handled; `bytes` stay the caller's.
  package init?(mapping bytes: UnsafeRawBufferPointer, release: @escaping @Sendable (UnsafeRawPointer?, Int) -> Void) {
    let range = unsafe ckv_guard_add(bytes.baseAddress, bytes.count)
    guard range >= 0 else { return nil }
    unsafe start = bytes.baseAddress
    byteCount = bytes.count
    unsafe self.release = release
    guardedRange = range
  }

  deinit {
    if let guardedRange { ckv_guard_remove(guardedRange) }
    unsafe release(start, byteCount)
  }

  /// Whether what this thread has read so far is what the file held when mapped. False for good once the file was
  /// found cut or unreadable. Costs two loads; memory that is no mapping is always whole.
  package var isWhole: Bool { guardedRange.map { ckv_guard_is_whole($0) } ?? true }

  @inline(__always)
  package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let bytes = unsafe UnsafeRawBufferPointer(start: start, count: byteCount)
    return try unsafe body(bytes)
  }
}

/// A row-major tensor of f32, f16 or bf16.
package struct Tensor: Sendable {
  package let memory: TensorMemory
  /// Where the tensor's bytes start in `memory`.
  package let byteOffset: Int
  package let element: ElementType
  package let shape: [Int]

  /// - Precondition: the tensor lies inside the memory; the caller has checked the product of the shape.
  package init(memory: TensorMemory, byteOffset: Int, element: ElementType, shape: [Int]) {
    precondition(byteOffset >= 0 && byteOffset + shape.reduce(1, *) * element.byteCount <= memory.byteCount)
    self.memory = memory
    self.byteOffset = byteOffset
    self.element = element
    self.shape = shape
  }

  /// A tensor over a copy of `values`.
  package init(_ values: [Float], shape: [Int]) {
    precondition(shape.reduce(1, *) == values.count)
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(values.count * 4, 1), alignment: 64)
    unsafe values.withUnsafeBytes { unsafe copy.copyMemory(from: $0) }
    let memory = unsafe TensorMemory(UnsafeRawBufferPointer(copy)) { start, _ in
      unsafe UnsafeMutableRawPointer(mutating: start)?.deallocate()
    }
    self.init(memory: memory, byteOffset: 0, element: .f32, shape: shape)
  }

  package var count: Int { shape.reduce(1, *) }
  package var byteCount: Int { count * element.byteCount }

  @inline(__always)
  package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe memory.withUnsafeBytes { (all) throws(Failure) in
      try unsafe body(UnsafeRawBufferPointer(rebasing: all[byteOffset..<byteOffset + byteCount]))
    }
  }

  /// A copy, widened to f32.
  package func floats() -> [Float] {
    let element = element
    return unsafe withUnsafeBytes { bytes in
      (0..<count).map { index in
        switch element {
        case .f32: unsafe bytes.loadUnaligned(fromByteOffset: index * 4, as: Float.self)
        case .f16: HalfPrecision.float(f16Bits: unsafe bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
        case .bf16:
          HalfPrecision.float(bf16Bits: unsafe bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
        case .i8: preconditionFailure("pools are f32, f16 or bf16")
        }
      }
    }
  }
}

/// The tensors of one layer's key or value side.
package struct PartTensors: Sendable {
  package var projectionWeight: Tensor?
  package var projectionBias: Tensor?
  package var routerWeight: Tensor?
  package var routerBias: Tensor?
  package var pool: Tensor
  package let basis: Tensor?
  /// The basis as attention reads it, once somebody has; copies of this share it.
  package let transposedBasis = KeptFloats()

  package init(
    projectionWeight: Tensor?, projectionBias: Tensor?, routerWeight: Tensor?, routerBias: Tensor?,
    pool: Tensor, basis: Tensor?
  ) {
    self.projectionWeight = projectionWeight
    self.projectionBias = projectionBias
    self.routerWeight = routerWeight
    self.routerBias = routerBias
    self.pool = pool
    self.basis = basis
  }
}

/// The tensors of one layer. A class, so that handing a layer on counts one reference and not one per tensor: those
/// counts were a tenth of a short attend.
package final class LayerTensors: Sendable {
  package let key: PartTensors
  package let value: PartTensors?
  /// The ways through attention that were worked out for the layer.
  package let paths = KeptObjects()

  package init(key: PartTensors, value: PartTensors?) {
    self.key = key
    self.value = value
  }
}
