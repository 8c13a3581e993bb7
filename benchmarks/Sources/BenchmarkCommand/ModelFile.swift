/// Writes the models that the benchmarks run with: one layer, random weights. A safetensors file is a 64-bit header
/// length, a JSON header and the tensors' bytes. The numbers hang on shape and seed alone.

struct ModelFile {
  var embeddingWidth = 64
  /// d_k = d_v.
  var width = 256
  var userWidth = 2
  var poolRows = 1_024
  var heads = 1
  /// Pools in f32, with the numbers that they have in f16; else in f16.
  var hasFloatPools = false
  /// No routers: a position's key and value use the pool row of its item.
  var isInterned = false
  /// Rotations for `simhash` and `sdim`, and a divisor for `silu`.
  var hasFunctions = false

  static let simhashBits = 16
  static let sdim = (groups: 8, bits: 4)
  private static let divisor = 1_000

  /// Bytes of the two pools.
  var poolByteCount: Int { 2 * poolRows * (width - userWidth) * (hasFloatPools ? 4 : 2) }

  /// Writes the model.
  ///
  /// - Returns: the pools of keys and of values, row by row, as bits of f16.
  @discardableResult
  func write(to path: String, seed: UInt64) throws -> (keys: [UInt16], values: [UInt16]) {
    var random = SplitMix(seed: seed)
    var tensors = Tensors()
    var pools: [[UInt16]] = []
    for part in ["key", "value"] {
      let name = "layers.0.\(part)"
      if userWidth > 0 {
        tensors.addFloats("\(name).projection.weight", [userWidth, embeddingWidth], &random)
        tensors.addFloats("\(name).projection.bias", [userWidth], &random)
      }
      if !isInterned {
        tensors.addFloats("\(name).router.weight", [poolRows, embeddingWidth], &random)
        tensors.addFloats("\(name).router.bias", [poolRows], &random)
      }
      let shape = [poolRows, width - userWidth]
      pools.append(tensors.addPool("\(name).pool", shape, asFloats: hasFloatPools, &random))
    }
    if hasFunctions {
      tensors.addFloats("layers.0.rotations.simhash", [Self.simhashBits, width], &random)
      tensors.addFloats("layers.0.rotations.sdim", [Self.sdim.groups, Self.sdim.bits, width], &random)
    }
    var metadata = "\"ckvdb.format\":\"1\",\"ckvdb.heads\":\"\(heads)\",\"ckvdb.input\":\"external\""
    if hasFunctions { metadata += ",\"ckvdb.divisor\":\"\(Self.divisor)\"" }
    var header = "{\"__metadata__\":{\(metadata)}\(tensors.header)}"
    while !header.utf8.count.isMultiple(of: 8) { header += " " }
    let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) }
    try Files.write(length + Array(header.utf8) + tensors.data, to: path)
    return (keys: pools[0], values: pools[1])
  }

  /// Tensors one behind the other.
  private struct Tensors {
    var header = ""
    var data: [UInt8] = []

    /// Numbers in [-1, 1).
    mutating func addFloats(_ name: String, _ shape: [Int], _ random: inout SplitMix) {
      let start = data.count
      for _ in 0..<shape.reduce(1, *) {
        let value = Float(random.unit() * 2 - 1)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) }
      }
      describe(name, shape, "F32", from: start)
    }

    /// Numbers of magnitude 1/16 to 1/8; returns their bits in f16.
    mutating func addPool(_ name: String, _ shape: [Int], asFloats: Bool, _ random: inout SplitMix) -> [UInt16] {
      let start = data.count
      var halves: [UInt16] = []
      for _ in 0..<shape.reduce(1, *) {
        _ = random.unit()
        // Sign, exponent -4, ten random bits: any finite f16 number will do.
        let half = UInt16(0x2C00 | random.next() & 0x8FFF)
        halves.append(half)
        if asFloats {
          let bits = UInt32(half & 0x8000) << 16 | (UInt32(half & 0x7FFF) << 13 + 0x3800_0000)
          withUnsafeBytes(of: bits.littleEndian) { data.append(contentsOf: $0) }
        } else {
          withUnsafeBytes(of: half.littleEndian) { data.append(contentsOf: $0) }
        }
      }
      describe(name, shape, asFloats ? "F32" : "F16", from: start)
      return halves
    }

    private mutating func describe(_ name: String, _ shape: [Int], _ type: String, from start: Int) {
      let dimensions = shape.map(String.init).joined(separator: ",")
      header += ",\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":[\(dimensions)],"
      header += "\"data_offsets\":[\(start),\(data.count)]}"
    }
  }
}
