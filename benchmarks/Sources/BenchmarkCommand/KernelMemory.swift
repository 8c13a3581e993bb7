/// Arguments of kernels: memory on cache lines that is filled once and freed with its owner.

final class KernelMemory {
  private var pieces: [UnsafeMutableRawPointer] = []
  private var random: SplitMix

  init(seed: UInt64) { random = SplitMix(seed: seed) }

  deinit { for piece in pieces { piece.deallocate() } }

  /// Zeros, with a cache line behind them.
  func room(byteCount: Int) -> UnsafeMutableRawPointer {
    let piece = UnsafeMutableRawPointer.allocate(byteCount: byteCount + 64, alignment: 64)
    piece.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount + 64)
    pieces.append(piece)
    return piece
  }

  func zeros(_ count: Int) -> UnsafeMutablePointer<Float> {
    room(byteCount: count * 4).bindMemory(to: Float.self, capacity: count)
  }

  /// Numbers in [-1, 1).
  func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
    let floats = zeros(count)
    for place in 0..<count { floats[place] = Float(random.unit() * 2 - 1) }
    return floats
  }

  func counts(_ values: [Int]) -> UnsafeMutablePointer<UInt32> {
    let counts = room(byteCount: values.count * 4).bindMemory(to: UInt32.self, capacity: values.count)
    for (place, value) in values.enumerated() { counts[place] = UInt32(value) }
    return counts
  }

  func words(_ count: Int, below limit: UInt64) -> UnsafeMutablePointer<UInt64> {
    let words = room(byteCount: count * 8).bindMemory(to: UInt64.self, capacity: count)
    for place in 0..<count { words[place] = random.next() % limit }
    return words
  }

  /// Rows of small numbers, as floats or as the upper or f16 half of them.
  func matrix(_ count: Int, _ format: KernelFormat) -> UnsafeMutableRawPointer {
    let matrix = room(byteCount: count * format.byteCount)
    for place in 0..<count {
      let bits = UInt16(0x2C00 | random.next() & 0x8FFF)
      switch format {
      case .f32: matrix.storeBytes(of: Float(random.unit() - 0.5), toByteOffset: place * 4, as: Float.self)
      case .f16: matrix.storeBytes(of: bits, toByteOffset: place * 2, as: UInt16.self)
      case .bf16: matrix.storeBytes(of: bits & 0x80FF | 0x3D00, toByteOffset: place * 2, as: UInt16.self)
      }
    }
    return matrix
  }

  /// So many numbers below a limit.
  func drawn(_ count: Int, below limit: Int) -> [Int] { (0..<count).map { _ in random.below(limit) } }
}

/// How a matrix's numbers are kept.
enum KernelFormat: String, CaseIterable {
  case f32, f16, bf16

  var byteCount: Int { self == .f32 ? 4 : 2 }
}
