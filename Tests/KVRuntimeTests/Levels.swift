/// What the tests share: seeded numbers, the levels of this machine, and memory that ends where no page follows.

import CKernels
import CacheTypes
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A level of the kernels that this machine can run.
struct Level: Sendable, CustomTestStringConvertible {
  let number: Int32
  let testDescription: String

  var kernels: ckv_kernels { ckv_kernels_at(ckv_level(UInt32(number)))!.pointee }

  static let all: [Level] = zip(0..., ["serial", "avx2", "avx512"]).compactMap { number, name in
    ckv_kernels_at(ckv_level(UInt32(number))) == nil ? nil : Level(number: Int32(number), testDescription: name)
  }

  static let serial = all[0].kernels
}

extension ckv_kernels {
  func rows(of element: ElementType) -> ckv_row_kernels {
    switch element {
    case .f32: f32
    case .f16: f16
    case .bf16: bf16
    case .i8: fatalError("no matrix is i8")
    }
  }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Draw: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: Int) { state = UInt64(bitPattern: Int64(seed)) &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678_9ABC_DEF1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func number(_ bound: Float = 1) -> Float { Float.random(in: -bound...bound, using: &self) }
  mutating func numbers(_ count: Int, _ bound: Float = 1) -> [Float] { (0..<count).map { _ in number(bound) } }
  /// Multiples of 1/4 in -1...1: sums of their products are exact, ties are ties.
  mutating func dyadic(_ count: Int) -> [Float] {
    (0..<count).map { _ in Float(Int.random(in: -4...4, using: &self)) / 4 }
  }
  mutating func rows(_ count: Int, below limit: Int) -> [UInt32] {
    (0..<count).map { _ in UInt32.random(in: 0..<UInt32(limit), using: &self) }
  }
}

/// Bytes that end at the end of a page, with a page behind them that must not be touched: a kernel that reads or writes
/// past its span ends the process. Valid until the memory it came from is freed.
struct Guarded {
  let start: UnsafeMutableRawPointer

  var floats: UnsafeMutablePointer<Float> { start.assumingMemoryBound(to: Float.self) }
  var indices: UnsafeMutablePointer<UInt32> { start.assumingMemoryBound(to: UInt32.self) }
  func read(_ count: Int) -> [Float] { Array(UnsafeBufferPointer(start: floats, count: count)) }
  func readIndices(_ count: Int) -> [UInt32] { Array(UnsafeBufferPointer(start: indices, count: count)) }
}

/// Owns the guarded bytes of one test, until `free`.
final class GuardedMemory {
  private var mappings: [(start: UnsafeMutableRawPointer, byteCount: Int)] = []

  func room(byteCount: Int) -> Guarded {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let usable = (byteCount + page - 1) / page * page
    let start = mmap(nil, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
    precondition(start != MAP_FAILED && mprotect(start + usable, page, PROT_NONE) == 0)
    mappings.append((start, usable + page))
    return Guarded(start: start + usable - byteCount)
  }

  func copy<Element: BitwiseCopyable>(_ values: [Element]) -> Guarded {
    let place = room(byteCount: values.count * MemoryLayout<Element>.stride)
    values.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: place.start, count: $0.count).copyMemory(from: $0) }
    return place
  }

  func free() {
    for mapping in mappings { munmap(mapping.start, mapping.byteCount) }
    mappings = []
  }
}

func exponential(_ x: Double) -> Double { exp(x) }

/// A matrix's bytes in an element type, and what they hold.
func stored(_ values: [Float], _ element: ElementType) -> (bytes: [UInt8], floats: [Float]) {
  var bytes: [UInt8] = []
  for value in values {
    switch element {
    case .f32: withUnsafeBytes(of: value) { bytes += $0 }
    case .f16: withUnsafeBytes(of: HalfPrecision.f16Bits(value)) { bytes += $0 }
    case .bf16: withUnsafeBytes(of: HalfPrecision.bf16Bits(value)) { bytes += $0 }
    case .i8: fatalError("no matrix is i8")
    }
  }
  return (bytes, values.map { element.rounded($0) })
}

extension Tensor {
  /// A tensor in an element type, starting `shift` bytes behind a boundary.
  static func of(_ values: [Float], _ shape: [Int], _ element: ElementType, shift: Int = 0) -> Tensor {
    let bytes = stored(values, element).bytes
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count + shift + 1, alignment: 64)
    UnsafeMutableRawBufferPointer(rebasing: copy[shift...]).copyBytes(from: bytes)
    let memory = TensorMemory(UnsafeRawBufferPointer(copy)) { start, _ in
      UnsafeMutableRawPointer(mutating: start)?.deallocate()
    }
    return Tensor(memory: memory, byteOffset: shift, element: element, shape: shape)
  }
}

/// Bit patterns, so that NaN equals itself and -0 is not 0.
func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
