import CKernels
import CacheTypes
import Testing

/// Kernels that take CKV_GROUP heads at once are held against the ones that take one.
@Suite struct `Kernels over groups of heads` {
  /// Bounds of four heads: even, straddling vectors, with an empty first head, with missing ones, wider than a pass.
  static let bounds: [[Int]] = [
    [0, 16, 32, 48, 64], [0, 62, 126, 190, 254], [0, 0, 5, 13, 21], [3, 40, 77, 77, 77], [0, 0, 0, 0, 0],
    [2, 3, 5, 22, 23], [0, 100, 200, 300, 400], [0, 60, 130, 200, 270],
  ]
  static let counts = [0, 1, 3, 4, 5, 8, 12, 13, 19, 20, 21, 37]

  @Test(arguments: Level.all, [ElementType.f32, .f16, .bf16])
  func `dot products of a group are those of its heads, bit for bit`(_ level: Level, _ element: ElementType) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(11)
    for bounds in Self.bounds {
      let width = bounds[4]
      let (bytes, _) = stored(draw.numbers(22 * (width + 1) + width, 2), element)
      let matrix = memory.copy(bytes)
      let vector = memory.copy(draw.numbers(width))
      for count in Self.counts {
        let rows = memory.copy(draw.rows(count, below: 23)).indices
        let sums = memory.room(byteCount: count * 16)
        level.kernels.rows(of: element).head_dots(
          matrix.start, width + 1, rows, count, vector.floats, bounds, sums.floats)
        let seen = sums.read(count * 4)
        for head in 0..<4 {
          var wanted = [Float](repeating: 0, count: count)
          Level.serial.rows(of: element).row_dots(
            matrix.start + bounds[head] * element.byteCount, width + 1, rows, count, vector.floats + bounds[head],
            bounds[head + 1] - bounds[head], &wanted)
          #expect(bits((0..<count).map { seen[$0 * 4 + head] }) == bits(wanted), "\(bounds), count \(count)")
        }
      }
    }
  }

  @Test(arguments: Level.all, [ElementType.f32, .f16, .bf16])
  func `weighted sums of a group are those of its heads, bit for bit`(_ level: Level, _ element: ElementType) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(12)
    for bounds in Self.bounds {
      let width = bounds[4]
      let (bytes, _) = stored(draw.numbers(22 * (width + 1) + width, 2), element)
      let matrix = memory.copy(bytes)
      let scales = memory.copy(draw.numbers(4)).floats
      for count in Self.counts {
        let rows = memory.copy(draw.rows(count, below: 23)).indices
        let weights = memory.copy(draw.numbers(count * 4))
        let sums = memory.copy([Float](repeating: 7, count: width))
        level.kernels.rows(of: element).head_sums(
          matrix.start, width + 1, rows, weights.floats, count, scales, bounds, sums.floats)
        var wanted = [Float](repeating: 7, count: width)
        for head in 0..<4 {
          let own = (0..<count).map { weights.floats[$0 * 4 + head] }
          wanted.withUnsafeMutableBufferPointer { wanted in
            guard let start = wanted.baseAddress else { return }
            Level.serial.rows(of: element).row_sum(
              matrix.start + bounds[head] * element.byteCount, width + 1, rows, own, count, scales[head],
              bounds[head + 1] - bounds[head], start + bounds[head])
          }
        }
        #expect(bits(sums.read(width)) == bits(wanted), "\(bounds), count \(count)")
      }
    }
  }

  @Test(arguments: Level.all)
  func `exponentials of the wanted heads are those of each head alone`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(13)
    for count in Array(1...20) + [255, 256, 257] {
      for heads in [UInt32](0...15) {
        let numbers = draw.numbers(count * 4, 6)
        let values = memory.copy(numbers)
        level.kernels.head_exp_f32(values.floats, count, 0.7, heads)
        let seen = values.read(count * 4)
        for head in 0..<4 {
          var wanted = (0..<count).map { numbers[$0 * 4 + head] }
          if heads >> UInt32(head) & 1 == 1 {
            let greatest = Level.serial.scores_f32(nil, 0, nil, nil, 0, nil, 0, 0.7, count, &wanted)
            _ = Level.serial.exp_sum_f32(&wanted, count, greatest)
          }
          #expect(bits((0..<count).map { seen[$0 * 4 + head] }) == bits(wanted), "count \(count), heads \(heads)")
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `totals agree with 64-bit ones and with serial bit for bit`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(14)
    for count in Array(0...40) + [255, 256, 257, 1000, 70_000] {
      let numbers = draw.numbers(count * 4).map(abs)
      let values = memory.copy(numbers)
      var (seen, wanted) = ([Double](repeating: -1, count: 4), [Double](repeating: -1, count: 4))
      level.kernels.head_totals_f32(values.floats, count, &seen)
      Level.serial.head_totals_f32(values.floats, count, &wanted)
      #expect(seen == wanted, "count \(count)")
      for head in 0..<4 {
        let exact = (0..<count).reduce(0.0) { $0 + Double(numbers[$1 * 4 + head]) }
        #expect(abs(seen[head] - exact) <= 1e-6 * exact, "count \(count)")
      }
    }
  }

  @Test(arguments: Level.all)
  func `compaction keeps the rows with a number that is not zero, in order`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(15)
    for count in Array(0...40) + [1000, 1023] {
      var sums = draw.numbers(count * 4).map { $0 > 0.6 ? $0 : 0 }
      if count > 3 {
        sums[5] = .nan
        sums[count * 4 - 1] = -0.0
      }
      let rows = memory.room(byteCount: count * 4)
      let weights = memory.room(byteCount: count * 16)
      let found = level.kernels.compact_heads_f32(memory.copy(sums).floats, count, rows.indices, weights.floats)
      let wanted = (0..<count).filter { row in (0..<4).contains { sums[row * 4 + $0] != 0 } }
      #expect(rows.readIndices(found) == wanted.map(UInt32.init), "count \(count)")
      #expect(bits(weights.read(found * 4)) == bits(wanted.flatMap { sums[$0 * 4..<$0 * 4 + 4] }), "count \(count)")
    }
  }

  @Test(arguments: Level.all)
  func `rows in use are listed once, ascending`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(16)
    for rowCount in Array(1...70) + [1000, 1024] {
      for count in [0, 1, 7, 100] {
        let indices = draw.rows(count, below: rowCount)
        let marks = memory.copy([UInt8](repeating: 9, count: rowCount))
        let rows = memory.room(byteCount: rowCount * 4)
        let found = level.kernels.used_rows_u32(
          memory.copy(indices).indices, count, rowCount, marks.start.assumingMemoryBound(to: UInt8.self), rows.indices)
        #expect(rows.readIndices(found) == Set(indices).sorted(), "\(count) of \(rowCount)")
      }
    }
  }

  @Test(arguments: 0...4)
  func `weights of positions come from the table and from their own columns`(_ ownCount: Int) {
    var draw = Draw(17)
    let (table, own) = (draw.numbers(9 * 4), draw.numbers(4 * 9))
    let (indices, rows) = (draw.rows(7, below: 9), draw.rows(7, below: 3))
    for isListed in [true, false] {
      var weights = [Float](repeating: 0, count: 28)
      var sums = [Float](repeating: 0.5, count: 12)
      indices.withUnsafeBufferPointer { listed in
        let indices = isListed ? listed.baseAddress : nil
        ckv_gather_heads_f32(table, indices, own, 9, ownCount, 7, &weights)
        ckv_scatter_heads_f32(&sums, rows, table, indices, own, 9, ownCount, 7)
      }
      var wantedSums = [Float](repeating: 0.5, count: 12)
      for position in 0..<7 {
        for head in 0..<4 {
          let row = isListed ? Int(indices[position]) : position
          let wanted = head < ownCount ? own[head * 9 + position] : table[row * 4 + head]
          #expect(weights[position * 4 + head] == wanted)
          wantedSums[Int(rows[position]) * 4 + head] += wanted
        }
      }
      #expect(sums == wantedSums)
    }
  }

  @Test func `spread numbers stand in their rows`() {
    var one = [Float](repeating: 0, count: 4)
    ckv_spread_f32([5, 6], [3, 1], 2, &one)
    #expect(one == [0, 6, 0, 5])
    var four = [Float](repeating: 0, count: 12)
    ckv_spread_heads_f32([1, 2, 3, 4], [2], 1, &four)
    #expect(four == [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])
  }
}
