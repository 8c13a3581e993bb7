import CKernels
import CacheTypes
import Testing

/// Kernels for several queries at once are held against those for one, which have tests of their own, and against
/// 64-bit sums.
@Suite struct `Kernels over blocks of queries` {
  static let size = Int(CKV_BLOCK)
  static let widths = [0, 1, 7, 8, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65, 127, 254, 256, 300]
  static let counts = [0, 1, 2, 3, 4, 6, 7, 17, 21]
  static let longCounts = [0, 1, 5, 15, 16, 17, 31, 63, 64, 65, 100, 128, 255, 256, 257, 1_023, 1_024, 1_025, 2_500]

  static func rows(_ kernels: ckv_block_kernels, _ element: ElementType) -> ckv_block_row_kernels {
    switch element {
    case .f32: kernels.f32
    case .f16: kernels.f16
    case .bf16: kernels.bf16
    case .i8: fatalError("no matrix is i8")
    }
  }

  static func blocks(_ level: Level) -> ckv_block_kernels {
    ckv_block_kernels_at(ckv_level(UInt32(level.number)))!.pointee
  }

  /// One query's numbers out of a block's.
  static func column(_ block: [Float], _ query: Int) -> [Float] {
    stride(from: query, to: block.count, by: size).map { block[$0] }
  }

  @Test(arguments: Level.all, [ElementType.f32, .f16, .bf16])
  func `dot products are those of each query alone, bit for bit, and agree with 64-bit ones`(
    _ level: Level, _ element: ElementType
  ) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(31)
    for width in Self.widths {
      let stride = width + width % 3
      let (bytes, floats) = stored(draw.numbers(22 * stride + width, 2), element)
      let matrix = memory.copy(bytes)
      for (turn, count) in Self.counts.enumerated() {
        let queries = [16, 1, 4, 5, 8, 9, 12, 15, 16][turn]
        let rows = draw.rows(count, below: 23)
        let vectors = memory.copy(draw.numbers((queries - 1) * (width + 1) + width))
        let listed = memory.copy(rows).indices
        let sums = memory.room(byteCount: count * Self.size * 4)
        for list in [listed, nil] {
          Self.rows(Self.blocks(level), element).block_dots(
            matrix.start, stride, list, count, vectors.floats, width + 1, queries, width, sums.floats)
          let seen = sums.read(count * Self.size)
          for query in 0..<queries {
            var alone = [Float](repeating: 0, count: count)
            let vector = vectors.floats + query * (width + 1)
            Level.serial.rows(of: element).row_dots(matrix.start, stride, list, count, vector, width, &alone)
            #expect(bits(Self.column(seen, query)) == bits(alone), "width \(width), count \(count), query \(query)")
            for (place, sum) in alone.enumerated() {
              let start = (list == nil ? place : Int(rows[place])) * stride
              let exact = (0..<width).reduce(0.0) { $0 + Double(floats[start + $1]) * Double(vector[$1]) }
              #expect(abs(Double(sum) - exact) <= 1e-6 * Double(width + 1))
            }
          }
        }
      }
    }
  }

  @Test(arguments: Level.all, [ElementType.f32, .f16, .bf16])
  func `weighted sums are those of each query alone, bit for bit, and agree with 64-bit ones`(
    _ level: Level, _ element: ElementType
  ) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(32)
    for width in Self.widths {
      let stride = width + width % 2
      let (bytes, floats) = stored(draw.numbers(22 * stride + width, 2), element)
      let matrix = memory.copy(bytes)
      for (turn, count) in Self.counts.enumerated() {
        let queries = [16, 1, 4, 5, 8, 9, 12, 15, 16][turn]
        let rows = draw.rows(count, below: 23)
        let listed = memory.copy(rows).indices
        let weights = memory.copy(draw.numbers(count * Self.size))
        let scales = memory.copy(draw.numbers(Self.size))
        // What lies between the rows, and behind the last, stays.
        let sums = memory.copy([Float](repeating: 7, count: (queries - 1) * (width + 2) + width))
        Self.rows(Self.blocks(level), element).block_sums(
          matrix.start, stride, listed, weights.floats, count, scales.floats, queries, width, sums.floats, width + 2)
        let seen = sums.read((queries - 1) * (width + 2) + width)
        for query in 0..<queries {
          let own = Self.column(weights.read(count * Self.size), query)
          var alone = [Float](repeating: 0, count: width)
          Level.serial.rows(of: element).row_sum(
            matrix.start, stride, listed, own, count, scales.floats[query], width, &alone)
          let start = query * (width + 2)
          #expect(bits(Array(seen[start..<start + width])) == bits(alone), "width \(width), count \(count)")
          if query + 1 < queries { #expect(seen[start + width..<start + width + 2] == [7, 7]) }
          for (column, sum) in alone.enumerated() {
            let exact = zip(rows, own).reduce(0.0) {
              $0 + Double($1.1) * Double(floats[Int($1.0) * stride + column])
            }
            #expect(abs(Double(sum) - exact * Double(scales.floats[query])) <= 1e-6 * Double(count + 1))
          }
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `scores and their exponentials are those of each query alone, bit for bit`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(33)
    let kernels = Self.blocks(level)
    for count in Self.longCounts {
      for dimensions in [0, 1, 3] {
        let table = draw.numbers(23 * Self.size, 40)
        let indices = draw.rows(count, below: 23)
        let columns = memory.copy(draw.numbers(dimensions * count))
        let coefficients = draw.numbers(dimensions * Self.size, 9)
        let scores = memory.copy(draw.numbers(count * Self.size))
        let given = scores.read(count * Self.size)
        for isListed in [false, true] {
          var greatest = [Float](repeating: 0, count: Self.size)
          var totals = [Double](repeating: 0, count: Self.size)
          scores.start.copyMemory(from: given, byteCount: given.count * 4)
          kernels.scores(
            isListed ? table : nil, isListed ? indices : nil, columns.floats, count, coefficients, dimensions, 0.75,
            count, scores.floats, &greatest)
          let scored = scores.read(count * Self.size)
          kernels.exp_sums(scores.floats, count, greatest, &totals)
          let weights = scores.read(count * Self.size)
          for query in 0..<Self.size {
            var alone = Self.column(given, query)
            let best = Level.serial.scores_f32(
              isListed ? Self.column(table, query) : nil, 1, isListed ? indices : nil, columns.floats, count,
              Self.column(coefficients, query), dimensions, 0.75, count, &alone)
            #expect(bits(Self.column(scored, query)) == bits(alone), "count \(count)")
            #expect(bits([greatest[query]]) == bits([best]))
            let total = Level.serial.exp_sum_f32(&alone, count, best)
            #expect(bits(Self.column(weights, query)) == bits(alone), "count \(count)")
            #expect(totals[query].bitPattern == total.bitPattern, "count \(count)")
          }
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `a score that is not a number reaches its query's total and no other's`(_ level: Level) {
    var scores = [Float](repeating: 1, count: 40 * Self.size)
    scores[7 * Self.size + 3] = .nan
    scores[9 * Self.size + 5] = .infinity
    var greatest = [Float](repeating: 0, count: Self.size)
    var totals = [Double](repeating: 0, count: Self.size)
    let kernels = Self.blocks(level)
    kernels.scores(nil, nil, nil, 0, nil, 0, 1, 40, &scores, &greatest)
    kernels.exp_sums(&scores, 40, greatest, &totals)
    for query in 0..<Self.size { #expect(totals[query].isFinite == (query != 3 && query != 5)) }
    #expect(greatest[3] == 1)
  }

  @Test(arguments: Level.all)
  func `sums of columns are those of each query alone, bit for bit`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(34)
    for count in Self.longCounts {
      let weights = memory.copy(draw.numbers(count * Self.size))
      let columns = memory.copy(draw.numbers(2 * count))
      var sums = [Float](repeating: 7, count: 2 * Self.size)
      Self.blocks(level).column_sums(weights.floats, columns.floats, count, 2, count, nil, &sums)
      for query in 0..<Self.size {
        let own = Self.column(weights.read(count * Self.size), query)
        for column in 0..<2 {
          let alone = Level.serial.dot_f32(own, columns.floats + column * count, count)
          #expect(bits([sums[column * Self.size + query]]) == bits([alone]), "count \(count)")
        }
      }
      // The last position each query's own.
      guard count > 0 else { continue }
      let last = memory.copy(draw.numbers(2 * Self.size))
      Self.blocks(level).column_sums(weights.floats, columns.floats, count, 2, count - 1, last.floats, &sums)
      for query in 0..<Self.size {
        let own = Self.column(weights.read(count * Self.size), query)
        for column in 0..<2 {
          var numbers = Array(columns.read(2 * count)[column * count..<(column + 1) * count])
          numbers[count - 1] = last.floats[column * Self.size + query]
          let alone = Level.serial.dot_f32(own, numbers, count)
          #expect(bits([sums[column * Self.size + query]]) == bits([alone]), "count \(count), last")
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `totals are those of a head among four, bit for bit`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(35)
    for count in Self.longCounts {
      let values = memory.copy(draw.numbers(count * Self.size))
      var totals = [Double](repeating: 7, count: Self.size)
      Self.blocks(level).totals(values.floats, count, &totals)
      for query in 0..<Self.size {
        let own = Self.column(values.read(count * Self.size), query)
        for head in 0..<4 {
          var group = draw.numbers(count * 4)
          for place in 0..<count { group[place * 4 + head] = own[place] }
          var wanted = [Double](repeating: 0, count: 4)
          Level.serial.head_totals_f32(group, count, &wanted)
          #expect(totals[query].bitPattern == wanted[head].bitPattern, "count \(count), head \(head)")
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `weights are added up per row in order, and rows without weight are told by query`(_ level: Level) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(36)
    let kernels = Self.blocks(level)
    for count in [0, 1, 9, 200] {
      let rows = memory.copy(draw.rows(count, below: 23))
      let ranks = memory.copy(draw.rows(count, below: 11))
      for indices in [ranks.indices, nil] {
        let table = memory.copy(draw.numbers((indices == nil ? count : 11) * Self.size))
        let sums = memory.copy([Float](repeating: 0.5, count: 23 * Self.size))
        kernels.scatter(sums.floats, rows.indices, table.floats, indices, count)
        for query in 0..<Self.size {
          var alone = [Float](repeating: 0.5, count: 23)
          for place in 0..<count {
            let from = indices.map { Int($0[place]) } ?? place
            alone[Int(rows.indices[place])] += table.floats[from * Self.size + query]
          }
          #expect(bits(Self.column(sums.read(23 * Self.size), query)) == bits(alone), "count \(count)")
        }
      }
    }
    let parts = memory.copy([Float](repeating: 1, count: 2 * 5 * Self.size))
    #expect(kernels.empty_rows(parts.floats, 2, 5 * Self.size, 5) == 0)
    parts.floats[3 * Self.size + 4] = 0
    #expect(kernels.empty_rows(parts.floats, 1, 0, 5) == 1 << 4)
    #expect(kernels.empty_rows(parts.floats, 2, 5 * Self.size, 5) == 0)
    parts.floats[(5 + 3) * Self.size + 4] = -0.0
    parts.floats[15] = .nan
    #expect(kernels.empty_rows(parts.floats, 2, 5 * Self.size, 5) == 1 << 4)
    #expect(kernels.empty_rows(parts.floats, 2, 5 * Self.size, 3) == 0)
  }

  @Test(arguments: [1, 3, 4], [0.0, 0.02, 0.5, 1])
  func `totals without empty rows are those of a query that has none, bit for bit`(_ parts: Int, _ empty: Double) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(38)
    for count in Self.longCounts {
      var values = draw.numbers(parts * count * Self.size)
      for row in 0..<count {
        for query in 0..<Self.size where Double.random(in: 0..<1, using: &draw) < empty {
          for part in 0..<parts { values[(part * count + row) * Self.size + query] = row % 2 == 0 ? 0 : -0.0 }
        }
      }
      let sums = memory.copy(values)
      var totals = [Double](repeating: 7, count: parts * Self.size)
      let queries: UInt32 = 0xFFFF & ~(1 << 5)
      ckv_compact_totals_f32(sums.floats, parts, count * Self.size, count, queries, &totals)
      for query in 0..<Self.size where queries >> UInt32(query) & 1 == 1 {
        var group: [Float] = []
        for row in 0..<count {
          let numbers = (0..<4).map { $0 < parts ? values[($0 * count + row) * Self.size + query] : 0 }
          if numbers.contains(where: { $0 != 0 }) { group += numbers }
        }
        var wanted = [Double](repeating: 0, count: 4)
        Level.serial.head_totals_f32(group, group.count / 4, &wanted)
        for part in 0..<parts {
          #expect(totals[part * Self.size + query] == wanted[part], "count \(count), query \(query), part \(part)")
        }
      }
    }
  }

  @Test(arguments: [false, true], [0, 1, 20])
  func `SiLU weights are those of each query alone over what it sees, and 0 behind it`(_ usesBias: Bool, _ spread: Int)
  {
    let memory = GuardedMemory()
    defer { memory.free(); _ = ckv_kernels_force(-1) }
    var draw = Draw(39)
    for level in Level.all {
      #expect(ckv_kernels_force(level.number))
      for count in [1, 2, 17, 40, 200] {
        let counts = (0..<Self.size).map { UInt32(max(1, count - spread * $0 / 15)) }
        let bias = memory.copy(draw.numbers(count))
        let scores = memory.copy(draw.numbers(count * Self.size, 9))
        let given = scores.read(count * Self.size)
        ckv_silu_blocks_f32(scores.floats, usesBias ? bias.floats : nil, counts, count)
        for query in 0..<Self.size {
          let seen = Int(counts[query])
          var alone = Array(Self.column(given, query).prefix(seen))
          ckv_silu_f32(&alone, usesBias ? bias.floats : nil, seen)
          let wanted = alone + [Float](repeating: 0, count: count - seen)
          #expect(bits(Self.column(scores.read(count * Self.size), query)) == bits(wanted), "count \(count)")
        }
      }
    }
  }

  @Test func `ranks name each position's row among those in use`() {
    var draw = Draw(37)
    let indices = draw.rows(50, below: 40)
    let used = Set(indices).sorted()
    var places = [UInt32](repeating: 99, count: 40)
    var ranks = [UInt32](repeating: 99, count: 50)
    ckv_rank_u32(used, used.count, &places, indices, 50, &ranks)
    #expect(ranks.map { used[Int($0)] } == indices)
    let table = draw.numbers(40 * Self.size)
    var gathered = [Float](repeating: 0, count: 50 * Self.size)
    ckv_gather_blocks_f32(table, indices, 50, &gathered)
    for place in 0..<50 {
      let start = Int(indices[place]) * Self.size
      #expect(gathered[place * Self.size..<(place + 1) * Self.size] == table[start..<start + Self.size])
    }
  }
}
