import CKernels
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

@Suite struct `Kernels of the encoder` {
  /// Packed weights and what they were packed from.
  struct Weights {
    let width: Int
    let outputs: Int
    let values: [Float]
    let bias: [Float]
    let panels: UnsafeMutablePointer<Float>
    let paddedBias: UnsafeMutablePointer<Float>

    init(_ values: [Float], _ bias: [Float], width: Int) {
      self.values = values
      self.bias = bias
      self.width = width
      outputs = bias.count
      let padded = (outputs + 15) / 16 * 16
      let memory = UnsafeMutableRawPointer.allocate(byteCount: (padded + padded * width) * 4, alignment: 64)
      paddedBias = memory.bindMemory(to: Float.self, capacity: padded + padded * width)
      panels = paddedBias + padded
      paddedBias.update(repeating: -.infinity, count: padded)
      paddedBias.update(from: bias, count: outputs)
      ckv_pack_panels_f32(values, outputs, width, panels)
    }

    func free() { UnsafeMutableRawPointer(paddedBias).deallocate() }

    /// One output as the kernels define it.
    func output(_ output: Int, _ row: ArraySlice<Float>) -> Float {
      var sum: Float = 0
      for (k, input) in row.enumerated() { sum = sum.addingProduct(input, values[output * width + k]) }
      return sum + bias[output]
    }
  }

  static let shapes: [(width: Int, outputs: Int)] = [
    (1, 1), (3, 2), (5, 15), (16, 16), (7, 17), (4, 33), (9, 70), (2, 129), (6, 144),
  ]
  static let rowCounts = Array(0...16) + [27, 28, 29, 48, 49, 55, 56, 57, 58, 59, 70, 113]

  @Test(arguments: Level.all)
  func `projections are the defined sums, whatever the batch`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(1)
    for (width, outputs) in Self.shapes where outputs < 100 {
      let weights = Weights(draw.numbers(outputs * width), draw.numbers(outputs), width: width)
      defer { weights.free() }
      let stride = width + 2
      let all = draw.numbers(Self.rowCounts.max()! * stride)
      let outputsOfRows = (0..<Self.rowCounts.max()!).map { row in
        (0..<outputs).map { weights.output($0, all[row * stride..<row * stride + width]) }
      }
      for count in Self.rowCounts {
        let rows = memory.copy(Array(all.prefix(max(0, (count - 1) * stride + width))))
        let columnStride = count + 1
        let target = memory.copy([Float](repeating: -7, count: max(0, (outputs - 1) * columnStride + count)))
        level.kernels.project_f32(
          rows.floats, stride, count, width, weights.panels, weights.paddedBias, outputs, target.floats, columnStride)
        let seen = target.read(max(0, (outputs - 1) * columnStride + count))
        var wanted = [Float](repeating: -7, count: seen.count)
        for row in 0..<count {
          for output in 0..<outputs { wanted[output * columnStride + row] = outputsOfRows[row][output] }
        }
        #expect(bits(seen) == bits(wanted), "d_e \(width), \(outputs) outputs, \(count) rows")
      }
    }
  }

  @Test(arguments: Level.all, [false, true])
  func `routing takes the greatest sum, of ties the lowest output`(_ level: Level, _ hasTies: Bool) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(2)
    var ties = 0
    for (width, outputs) in Self.shapes {
      let weights =
        hasTies
        ? Weights(draw.dyadic(outputs * width), draw.dyadic(outputs), width: width)
        : Weights(draw.numbers(outputs * width), draw.numbers(outputs), width: width)
      defer { weights.free() }
      let most = Self.rowCounts.max()!
      let all = hasTies ? draw.dyadic(most * width) : draw.numbers(most * width)
      let wanted = (0..<most).map { row in
        let sums = (0..<outputs).map { weights.output($0, all[row * width..<(row + 1) * width]) }
        let greatest = sums.max()!
        if sums.filter({ $0 == greatest }).count > 1 { ties += 1 }
        return UInt32(sums.firstIndex(of: greatest)!)
      }
      for count in Self.rowCounts {
        let rows = memory.copy(Array(all.prefix(count * width)))
        let target = memory.room(byteCount: count * 4)
        level.kernels.route_f32(
          rows.floats, width, count, width, weights.panels, weights.paddedBias, outputs, target.indices)
        #expect(
          target.readIndices(count) == Array(wanted.prefix(count)), "d_e \(width), \(outputs) outputs, \(count) rows")
      }
    }
    #expect(!hasTies || ties > 30)
  }

  @Test(arguments: Level.all)
  func `every output can win and a tie across all of them goes to the first`(_ level: Level) {
    let outputs = 70
    var target: [UInt32] = [9, 9, 9]
    for winner in 0..<outputs {
      var bias = [Float](repeating: 0, count: outputs)
      bias[winner] = 1
      let weights = Weights([Float](repeating: 0, count: outputs), bias, width: 1)
      defer { weights.free() }
      level.kernels.route_f32([1, 2, 3], 1, 3, 1, weights.panels, weights.paddedBias, outputs, &target)
      #expect(target == [UInt32](repeating: UInt32(winner), count: 3))
    }
    let weights = Weights([Float](repeating: 1, count: outputs), [Float](repeating: 0, count: outputs), width: 1)
    defer { weights.free() }
    level.kernels.route_f32([1, -2, 0], 1, 3, 1, weights.panels, weights.paddedBias, outputs, &target)
    #expect(target == [0, 0, 0])
  }

  @Test(arguments: Level.all)
  func `sums that overflow choose a row of the pool, the same at every level`(_ level: Level) {
    // For the first row outputs 1 and 2 are infinite, for the second output 2 alone; the rest are -infinity.
    var values = [Float](repeating: -3e38, count: 20 * 2)
    values[2] = 3e38
    values[4] = 3e38
    values[5] = 3e38
    var target: [UInt32] = [9, 9]
    let weights = Weights(values, [Float](repeating: 0, count: 20), width: 2)
    defer { weights.free() }
    level.kernels.route_f32([3, 0.5, 0, 3], 2, 2, 2, weights.panels, weights.paddedBias, 20, &target)
    #expect(target == [1, 2])
    let hopeless = Weights([Float](repeating: -3e38, count: 20), [Float](repeating: 0, count: 20), width: 1)
    defer { hopeless.free() }
    level.kernels.route_f32([3, 3], 1, 2, 1, hopeless.panels, hopeless.paddedBias, 20, &target)
    #expect(target == [0, 0])
  }
}

@Suite struct `Choice of level` {
  @Test func `the highest level of this machine is the default`() {
    #expect(ckv_kernels_at(CKV_SERIAL) != nil)
    #expect(!ckv_kernels_force(99))
  }

  @Test func `the environment can lower the level`() async {
    await #expect(processExitsWith: .success) {
      setenv("CKVDB_ISA", "serial", 1)
      precondition(ckv_kernels_active() == ckv_kernels_at(CKV_SERIAL)!)
    }
    await #expect(processExitsWith: .success) {
      setenv("CKVDB_ISA", "avx2", 1)
      precondition(ckv_kernels_active() == (ckv_kernels_at(CKV_AVX2) ?? ckv_kernels_at(CKV_SERIAL)!))
    }
    await #expect(processExitsWith: .success) {
      unsetenv("CKVDB_ISA")
      let highest = ckv_kernels_at(CKV_AVX512) ?? ckv_kernels_at(CKV_AVX2) ?? ckv_kernels_at(CKV_SERIAL)!
      precondition(ckv_kernels_active() == highest)
      precondition(ckv_kernels_force(0) && ckv_kernels_active() == ckv_kernels_at(CKV_SERIAL)!)
      precondition(ckv_kernels_force(-1) && ckv_kernels_active() == highest)
    }
  }
}
