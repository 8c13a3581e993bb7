import CKernels
import Testing

@Suite struct `Kernels of attention functions` {
  @Test func `places are gathered, scaled or as they are, in place too`() {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(1)
    for count in 0...70 {
      let source = draw.numbers(count + 5)
      let places = (0..<count).map { UInt32($0 + 5) }
      let floats = memory.room(byteCount: count * 4)
      let indices = memory.room(byteCount: count * 4)
      ckv_gather_f32(memory.copy(source).floats, memory.copy(places).indices, count, floats.floats)
      ckv_gather_u32(memory.copy(source.map(\.bitPattern)).indices, memory.copy(places).indices, count, indices.indices)
      #expect(floats.read(count) == Array(source[5...]))
      #expect(indices.readIndices(count) == source[5...].map(\.bitPattern))
      var inPlace = source
      let greatest = inPlace.withUnsafeMutableBufferPointer { numbers in
        ckv_gather_scores_f32(numbers.baseAddress!, places, count, -0.5, numbers.baseAddress!)
      }
      #expect(Array(inPlace.prefix(count)) == source[5...].map { $0 * -0.5 })
      #expect(greatest == source[5...].map { $0 * -0.5 }.max() ?? -.infinity)
    }
  }
}

/// Forces a level for the whole process.
extension `Encoder at every level` {
  @Test(arguments: 0..<12)
  func `the greatest are kept, the later of equal ones`(_ seed: Int) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(seed)
    for count in Array(1...40) + [300, 2_000] {
      let kinds: [[Float]] = [
        draw.numbers(count, 100), draw.dyadic(count).map { $0 == 0 ? (Bool.random(using: &draw) ? 0 : -0.0) : $0 },
        Array(repeating: 1, count: count),
        (0..<count).map {
          [.infinity, -.infinity, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 3e38, -3e38][$0 % 6]
        },
      ]
      for scores in kinds {
        let top = Int.random(in: 1...count, using: &draw)
        let sorted = (0..<count).sorted { (scores[$0], $0) > (scores[$1], $1) }
        for level in Level.all {
          #expect(ckv_kernels_force(level.number))
          let places = memory.room(byteCount: top * 4)
          ckv_select_top_f32(memory.copy(scores).floats, count, top, places.indices)
          #expect(places.readIndices(top).map(Int.init) == sorted.prefix(top).sorted(), "\(count), top \(top)")
        }
        _ = ckv_kernels_force(-1)
      }
    }
  }

  @Test func `SiLU weights agree with 64-bit ones, and are the same bits at every level`() {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(9)
    for count in Array(0...70) + [1_000] {
      let numbers = draw.numbers(count, 30)
      let bias = draw.numbers(count, 2)
      for usesBias in [false, true] {
        var seen: [[Float]] = []
        for level in Level.all {
          #expect(ckv_kernels_force(level.number))
          let scores = memory.copy(numbers)
          ckv_silu_f32(scores.floats, usesBias ? memory.copy(bias).floats : nil, count)
          seen.append(scores.read(count))
        }
        _ = ckv_kernels_force(-1)
        #expect(seen.allSatisfy { bits($0) == bits(seen[0]) }, "count \(count)")
        for (place, number) in numbers.enumerated() {
          let score = Double(usesBias ? number + bias[count - 1 - place] : number)
          let exact = score / (1 + exponential(-score))
          #expect(abs(Double(seen[0][place]) - exact) <= 4e-7 * abs(exact), "\(score)")
        }
      }
    }
  }

  @Test func `SiLU at the edges is what 32 bits can say`() {
    for level in Level.all {
      #expect(ckv_kernels_force(level.number))
      for place in [0, 9, 17] {
        for (score, wanted) in [
          (Float(0), Float(0)), (-200, 0), (1e30, 1e30), (-1e30, 0), (.infinity, .infinity), (0x1p-130, 0x1p-131),
        ] {
          var scores = [Float](repeating: 1, count: 18)
          scores[place] = score
          ckv_silu_f32(&scores, nil, 18)
          #expect(abs(scores[place]) == wanted || abs(scores[place] - wanted) <= .leastNonzeroMagnitude, "\(score)")
        }
        for score in [Float.nan, -.infinity] {
          var scores = [Float](repeating: 1, count: 18)
          scores[place] = score
          ckv_silu_f32(&scores, nil, 18)
          #expect(scores[place].isNaN)
        }
      }
    }
    _ = ckv_kernels_force(-1)
  }
}
