import CKernels
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

@Suite struct `Kernels of attention` {
  static let counts = Array(0...70) + [127, 128, 129, 1000, 1023, 1024, 1025, 1041, 2100]

  @Test(arguments: Level.all)
  func `exponentials lie within two units in the last place`(_ level: Level) {
    var values: [Float] = []
    var x: Float = -104
    while x < 88.7 {
      values.append(x)
      x += 0.00371
    }
    var draw = Draw(1)
    values += draw.numbers(20_000, 1)
    var results = values
    _ = level.kernels.exp_sum_f32(&results, results.count, 0)
    var worst = 0.0
    for (value, result) in zip(values, results) {
      let exact = exp(Double(value))
      worst = max(worst, abs(Double(result) - exact) / Double(Float(exact).ulp))
    }
    #expect(worst <= 2)
    var serial = values
    _ = Level.serial.exp_sum_f32(&serial, serial.count, 0)
    #expect(bits(results) == bits(serial))
  }

  @Test(arguments: Level.all)
  func `exponentials at the edges are what 32 bits can say`(_ level: Level) {
    let cases: [(Float, Float)] = [
      (0, 1), (-0.0, 1), (.infinity, .infinity), (-.infinity, 0), (89, .infinity), (1e30, .infinity), (-105, 0),
      (-1e30, 0), (.leastNonzeroMagnitude, 1), (-103.5, .leastNonzeroMagnitude),
    ]
    for place in [0, 3, 16, 25] {  // whole vectors and tails
      for (value, wanted) in cases {
        var values = [Float](repeating: -1, count: 26)
        values[place] = value
        _ = level.kernels.exp_sum_f32(&values, values.count, 0)
        #expect(values[place] == wanted, "e^\(value) at \(place)")
      }
      var values = [Float](repeating: -1, count: 26)
      values[place] = .nan
      #expect(level.kernels.exp_sum_f32(&values, values.count, 0).isNaN)
      #expect(values[place].isNaN)
    }
  }

  @Test(arguments: Level.all)
  func `sums of exponentials agree with 64-bit ones`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(2)
    for count in Self.counts + [100_000] {
      let numbers = draw.numbers(count, 6)
      let values = memory.copy(numbers)
      let expected = memory.copy(numbers)
      let sum = level.kernels.exp_sum_f32(values.floats, count, 6)
      #expect(sum == Level.serial.exp_sum_f32(expected.floats, count, 6), "count \(count)")
      #expect(bits(values.read(count)) == bits(expected.read(count)), "count \(count)")
      let exact = numbers.reduce(0.0) { $0 + exp(Double($1 - 6)) }
      #expect(abs(sum - exact) <= 2e-6 * exact, "count \(count)")
    }
  }

  @Test(arguments: Level.all)
  func `scores add the user part to the table or to what is there`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(3)
    for count in Self.counts {
      for dimensions in [0, 1, 2, 5] {
        let table = memory.copy(draw.numbers(40))
        let rows = draw.rows(count, below: 40)
        let indices = memory.copy(rows)
        let stride = count + 3
        let columns = memory.copy(draw.numbers(max(0, (dimensions - 1) * stride + count)))
        let coefficients = memory.copy(draw.numbers(dimensions))
        let starts = draw.numbers(count)
        for usesTable in [true, false] {
          let scores = memory.copy(starts)
          let expected = memory.copy(starts)
          var greatest: [Float] = []
          for (kernels, target) in [(level.kernels, scores), (Level.serial, expected)] {
            greatest.append(
              kernels.scores_f32(
                usesTable ? table.floats : nil, 1, usesTable ? indices.indices : nil, columns.floats, stride,
                coefficients.floats, dimensions, 0.3, count, target.floats))
          }
          let seen = scores.read(count)
          #expect(bits(seen) == bits(expected.read(count)), "count \(count), d_u \(dimensions)")
          #expect(greatest[0] == greatest[1] && greatest[0] == seen.max() ?? -.infinity, "count \(count)")
          for place in 0..<count {
            var exact = Double(usesTable ? table.floats[Int(rows[place])] : starts[place])
            for d in 0..<dimensions {
              exact += Double(coefficients.floats[d]) * Double(columns.floats[d * stride + place])
            }
            #expect(abs(Double(seen[place]) - 0.3 * exact) < 1e-6, "count \(count), d_u \(dimensions)")
          }
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `a table may be strided, and its places may be the positions themselves`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(7)
    for count in 1...40 {
      let table = draw.numbers(count * 4)
      let copy = memory.copy(Array(table.dropLast(3))).floats
      let rows = draw.rows(count, below: count)
      for isListed in [true, false] {
        let scores = memory.room(byteCount: count * 4)
        let listed = isListed ? memory.copy(rows).indices : nil
        _ = level.kernels.scores_f32(copy, 4, listed, nil, 0, nil, 0, 0.5, count, scores.floats)
        let wanted = (0..<count).map { 0.5 * table[(isListed ? Int(rows[$0]) : $0) * 4] }
        #expect(bits(scores.read(count)) == bits(wanted), "count \(count)")
      }
    }
  }

  @Test(arguments: Level.all)
  func `the greatest score leaves NaN aside`(_ level: Level) {
    for place in [0, 9, 16, 20] {
      var scores = [Float](repeating: -3, count: 21)
      scores[place] = .nan
      scores[5] = -2
      #expect(level.kernels.scores_f32(nil, 0, nil, nil, 0, nil, 0, 1, 21, &scores) == -2)
    }
  }

  @Test(arguments: Level.all)
  func `column dot products agree with 64-bit ones and with serial bit for bit`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(4)
    for count in Self.counts {
      let a = memory.copy(draw.numbers(count))
      let b = memory.copy(draw.numbers(count))
      let dot = level.kernels.dot_f32(a.floats, b.floats, count)
      #expect(dot.bitPattern == Level.serial.dot_f32(a.floats, b.floats, count).bitPattern, "count \(count)")
      let exact = zip(a.read(count), b.read(count)).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
      #expect(abs(Double(dot) - exact) < 1e-6 * Double(count + 1), "count \(count)")
    }
  }

  @Test(arguments: Level.all)
  func `rows are added one after the other`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(5)
    for width in 0...40 {
      for count in [0, 1, 3] {
        let rows = memory.copy(draw.numbers(max(0, (count - 1) * (width + 2) + width)))
        let coefficients = memory.copy(draw.numbers(max(0, (count - 1) * 3 + 1)))
        let start = draw.numbers(width)
        let target = memory.copy(start)
        level.kernels.add_rows_f32(rows.floats, width + 2, coefficients.floats, 3, count, width, target.floats)
        var wanted = start
        for d in 0..<count {
          for c in 0..<width {
            wanted[c] = wanted[c].addingProduct(coefficients.floats[3 * d], rows.floats[d * (width + 2) + c])
          }
        }
        #expect(bits(target.read(width)) == bits(wanted), "width \(width), count \(count)")
      }
    }
  }

  @Test(arguments: Level.all)
  func `compaction keeps what is not zero, in order`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(6)
    for count in Self.counts {
      var sums = draw.numbers(count).map { $0 > 0.2 ? $0 : 0 }
      if count > 5 {
        sums[1] = -0.0
        sums[3] = .nan
        sums[count - 1] = .leastNonzeroMagnitude
      }
      let rows = memory.room(byteCount: count * 4)
      let weights = memory.room(byteCount: count * 4)
      let found = level.kernels.compact_f32(sums, count, rows.indices, weights.floats)
      let wanted = (0..<count).filter { sums[$0] != 0 }
      #expect(rows.readIndices(found) == wanted.map(UInt32.init), "count \(count)")
      #expect(bits(weights.read(found)) == bits(wanted.map { sums[$0] }), "count \(count)")
    }
  }

  @Test(arguments: Level.all, [Float.nan, .infinity, -.infinity])
  func `the first number that is not finite is found`(_ level: Level, _ bad: Float) {
    let memory = GuardedMemory()
    defer { memory.free() }
    for count in 0...40 {
      let extremes: [Float] = [0, -0.0, .greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude]
      let clean = (0..<count).map { extremes[$0 % extremes.count] }
      #expect(level.kernels.first_nonfinite_f32(memory.copy(clean).floats, count) == count)
      for place in 0..<count {
        var values = clean
        values[place] = bad
        values[count - 1] = bad
        #expect(level.kernels.first_nonfinite_f32(memory.copy(values).floats, count) == place)
      }
    }
  }

  @Test(arguments: Level.all)
  func `the greatest index is found wherever it stands`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    for count in 0...40 {
      #expect(
        level.kernels.max_u32(memory.copy([UInt32](repeating: 7, count: count)).indices, count) == (count == 0 ? 0 : 7))
      for place in 0..<count {
        var values = [UInt32](repeating: 7, count: count)
        values[place] = .max
        #expect(level.kernels.max_u32(memory.copy(values).indices, count) == .max)
      }
    }
  }

  @Test func `scattered weights meet in their rows`() {
    var sums: [Float] = [0, 1, 0]
    ckv_scatter_add_f32(&sums, [2, 1, 2], [0.5, 0.25, 2], 3)
    #expect(sums == [0, 1.25, 2.5])
  }
}
