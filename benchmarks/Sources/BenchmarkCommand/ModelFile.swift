/// Writes the models that the benchmarks run with: one layer, random weights, a pool in f16. A safetensors file is a
/// 64-bit header length, a JSON header and the tensors' bytes.

struct ModelFile {
  var embeddingWidth = 64
  /// d_k = d_v.
  var width = 256
  var userWidth = 2
  var poolRows = 1_024
  var heads = 1

  /// Bytes of the two pools.
  var poolByteCount: Int { 2 * poolRows * (width - userWidth) * 2 }

  /// Writes the model.
  ///
  /// - Returns: the pools of keys and of values, row by row, as bits of f16.
  @discardableResult
  func write(to path: String, seed: UInt64) throws -> (keys: [UInt16], values: [UInt16]) {
    var random = SplitMix(seed: seed)
    var header = "{\"__metadata__\":{\"ckvdb.format\":\"1\",\"ckvdb.heads\":\"\(heads)\",\"ckvdb.input\":\"external\"}"
    var data: [UInt8] = []
    var pools: [[UInt16]] = []
    func add(_ name: String, _ shape: [Int], f16: Bool) {
      var halves: [UInt16] = []
      let start = data.count
      for _ in 0..<shape.reduce(1, *) {
        let value = Float(random.unit() * 2 - 1)
        if f16 {
          // 11 random bits around an exponent: any finite f16 number will do.
          let bits = UInt16(0x2C00 | random.next() & 0x8FFF)
          withUnsafeBytes(of: bits.littleEndian) { data.append(contentsOf: $0) }
          halves.append(bits)
        } else {
          withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) }
        }
      }
      if f16 { pools.append(halves) }
      let dimensions = shape.map(String.init).joined(separator: ",")
      header += ",\"\(name)\":{\"dtype\":\"\(f16 ? "F16" : "F32")\",\"shape\":[\(dimensions)],"
      header += "\"data_offsets\":[\(start),\(data.count)]}"
    }
    for part in ["key", "value"] {
      add("layers.0.\(part).projection.weight", [userWidth, embeddingWidth], f16: false)
      add("layers.0.\(part).projection.bias", [userWidth], f16: false)
      add("layers.0.\(part).router.weight", [poolRows, embeddingWidth], f16: false)
      add("layers.0.\(part).router.bias", [poolRows], f16: false)
      add("layers.0.\(part).pool", [poolRows, width - userWidth], f16: true)
    }
    header += "}"
    while !header.utf8.count.isMultiple(of: 8) { header += " " }
    let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) }
    try Files.write(length + Array(header.utf8) + data, to: path)
    return (keys: pools[0], values: pools[1])
  }
}
