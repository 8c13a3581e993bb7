import CKernels
import CacheTypes
import Testing

@Suite struct `Kernels over pool rows` {
  static let elements: [ElementType] = [.f32, .f16, .bf16]
  static let widths = Array(0...35) + [63, 64, 65, 127, 128, 129, 143, 254, 256, 300]
  static let counts = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17]

  /// A matrix that ends where its last wanted element ends, at an odd address unless that is where the page ends.
  struct Matrix {
    let place: Guarded
    let floats: [Float]
    let stride: Int
    let rowCount = 23

    init(_ draw: inout Draw, _ element: ElementType, width: Int, stride: Int, _ memory: GuardedMemory) {
      let (bytes, floats) = stored(draw.numbers(22 * stride + width, 2), element)
      self.stride = stride
      self.floats = floats
      place = memory.copy(bytes)
    }

    func row(_ row: Int, _ width: Int) -> ArraySlice<Float> { floats[row * stride..<row * stride + width] }
  }

  @Test(arguments: Level.all, elements)
  func `dot products agree with 64-bit ones and with serial bit for bit`(_ level: Level, _ element: ElementType) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(1)
    for width in Self.widths {
      let matrix = Matrix(&draw, element, width: width, stride: width + width % 3, memory)
      for count in Self.counts {
        let rows = draw.rows(count, below: matrix.rowCount)
        let vector = memory.copy(draw.numbers(width))
        let listed = memory.copy(rows)
        for isListed in [true, false] {
          let sums = memory.room(byteCount: count * 4)
          let expected = memory.room(byteCount: count * 4)
          for (kernels, target) in [(level.kernels, sums), (Level.serial, expected)] {
            kernels.rows(of: element).row_dots(
              matrix.place.start, matrix.stride, isListed ? listed.indices : nil, count, vector.floats, width,
              target.floats)
          }
          #expect(bits(sums.read(count)) == bits(expected.read(count)), "width \(width), count \(count)")
          for (place, sum) in sums.read(count).enumerated() {
            let row = matrix.row(isListed ? Int(rows[place]) : place, width)
            let exact = zip(row, vector.read(width)).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            #expect(abs(Double(sum) - exact) <= 1e-6 * Double(width + 1), "width \(width), count \(count)")
          }
        }
      }
    }
  }

  @Test(arguments: Level.all, elements)
  func `weighted sums agree with 64-bit ones and with serial bit for bit`(_ level: Level, _ element: ElementType) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(2)
    for width in Self.widths {
      let matrix = Matrix(&draw, element, width: width, stride: width + width % 2, memory)
      for count in Self.counts {
        let rows = draw.rows(count, below: matrix.rowCount)
        let weights = memory.copy(draw.numbers(count))
        let listed = memory.copy(rows)
        let sums = memory.room(byteCount: width * 4)
        let expected = memory.room(byteCount: width * 4)
        for (kernels, target) in [(level.kernels, sums), (Level.serial, expected)] {
          kernels.rows(of: element).row_sum(
            matrix.place.start, matrix.stride, listed.indices, weights.floats, count, 0.75, width, target.floats)
        }
        #expect(bits(sums.read(width)) == bits(expected.read(width)), "width \(width), count \(count)")
        var exact = [Double](repeating: 0, count: width)
        for (row, weight) in zip(rows, weights.read(count)) {
          for (column, value) in matrix.row(Int(row), width).enumerated() {
            exact[column] += 0.75 * Double(weight) * Double(value)
          }
        }
        for (sum, wanted) in zip(sums.read(width), exact) {
          #expect(abs(Double(sum) - wanted) <= 1e-6 * Double(count + 1), "width \(width), count \(count)")
        }
      }
    }
  }

  @Test(arguments: Level.all, elements)
  func `widened rows are exact and leave what lies between them alone`(_ level: Level, _ element: ElementType) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(3)
    for width in Self.widths where width > 0 {
      let matrix = Matrix(&draw, element, width: width, stride: width + 1, memory)
      let rows: [UInt32] = [22, 0, 5, 5, 21]
      let targetStride = width + 3
      let target = memory.copy([Float](repeating: -7, count: 4 * targetStride + width))
      level.kernels.rows(of: element).widen_rows(
        matrix.place.start, matrix.stride, rows, rows.count, width, target.floats, targetStride)
      let seen = target.read(4 * targetStride + width)
      for (place, row) in rows.enumerated() {
        #expect(seen[place * targetStride..<place * targetStride + width] == matrix.row(Int(row), width)[...])
        if place < 4 { #expect(seen[place * targetStride + width..<(place + 1) * targetStride] == [-7, -7, -7]) }
      }
    }
  }

  @Test(arguments: Level.all, elements)
  func `copied rows are rounded to nearest and leave what lies between them alone`(
    _ level: Level, _ element: ElementType
  ) {
    let memory = GuardedMemory()
    defer { memory.free() }
    var draw = Draw(4)
    for width in Self.widths where width > 0 {
      let matrix = Matrix(&draw, element, width: width, stride: width + 1, memory)
      let rows = draw.rows(21, below: matrix.rowCount)
      for (format, wanted) in [(CKV_F32, ElementType.f32), (CKV_F16, .f16), (CKV_BF16, .bf16)] {
        let (rowByteCount, stride) = (width * wanted.byteCount, width * wanted.byteCount + 3)
        let target = memory.copy([UInt8](repeating: 7, count: 20 * stride + rowByteCount))
        level.kernels.rows(of: element).copy_rows(
          matrix.place.start, matrix.stride, rows, rows.count, width, target.start, stride, format)
        for (place, row) in rows.enumerated() {
          let seen = UnsafeRawBufferPointer(start: target.start + place * stride, count: rowByteCount)
          #expect(Array(seen) == stored(Array(matrix.row(Int(row), width)), wanted).bytes, "width \(width), \(wanted)")
          let gap = UnsafeRawBufferPointer(start: target.start + place * stride + rowByteCount, count: 3)
          if place < 20 { #expect(gap.allSatisfy { $0 == 7 }) }
        }
      }
    }
  }

  @Test(arguments: Level.all)
  func `every edge of the 16-bit formats is rounded as the definition says`(_ level: Level) {
    var values: [Float] = [0, -0.0, 65_504, 65_519.99, 65_520, -65_520, 1e30, .infinity, -.infinity, 0x1p-24, 0x1p-25]
    values += [0x1.8p-25, 0x1.000002p-25, 0x1p-26, 0x1p-14, 0x1.ffcp-15, 0x1.ffep-15, .leastNonzeroMagnitude]
    values += [.greatestFiniteMagnitude, 1.00048828125, 1.00146484375, 1.00390625, 1.01171875]
    var draw = Draw(5)
    for exponent in -30...20 { values += draw.numbers(40, Float(sign: .plus, exponent: exponent, significand: 1)) }
    for (format, wanted) in [(CKV_F16, ElementType.f16), (CKV_BF16, .bf16)] {
      var halves = [UInt16](repeating: 0, count: values.count)
      level.kernels.f32.copy_rows(values, 0, nil, 1, values.count, &halves, 0, format)
      #expect(halves == values.map { wanted == .f16 ? HalfPrecision.f16Bits($0) : HalfPrecision.bf16Bits($0) })
      var nan = [UInt16](repeating: 0, count: 20)
      level.kernels.f32.copy_rows([Float](repeating: .nan, count: 20), 0, nil, 1, 20, &nan, 0, format)
      #expect(nan.allSatisfy { $0 & 0x7FFF > (wanted == .f16 ? 0x7C00 : 0x7F80) })
    }
  }

  @Test(arguments: Level.all, [ElementType.f16, .bf16])
  func `every 16-bit pattern widens to its value`(_ level: Level, _ element: ElementType) {
    let patterns = Array(UInt16.min...UInt16.max)
    var widened = [Float](repeating: 0, count: patterns.count)
    level.kernels.rows(of: element).widen_rows(patterns, patterns.count, nil, 1, patterns.count, &widened, 1)
    let wrong = zip(patterns, widened).filter { pattern, value in
      let wanted = element == .f16 ? HalfPrecision.float(f16Bits: pattern) : HalfPrecision.float(bf16Bits: pattern)
      return wanted.isNaN ? !value.isNaN : value.bitPattern != wanted.bitPattern
    }
    #expect(wrong.isEmpty)
  }

  @Test(arguments: Level.all)
  func `infinities and NaN reach the sums of their own row and column only`(_ level: Level) {
    let width = 19
    var values = [Float](repeating: 0.5, count: 3 * width)
    values[width + 18] = .infinity
    values[2 * width + 3] = .nan
    var dots = [Float](repeating: 0, count: 3)
    var sums = [Float](repeating: 0, count: width)
    let ones = [Float](repeating: 1, count: width)
    level.kernels.f32.row_dots(values, width, nil, 3, ones, width, &dots)
    level.kernels.f32.row_sum(values, width, nil, ones, 3, 1, width, &sums)
    #expect(dots[0] == 9.5)
    #expect(dots[1] == .infinity)
    #expect(dots[2].isNaN)
    #expect(sums[18] == .infinity)
    #expect(sums[3].isNaN)
    #expect(sums.enumerated().allSatisfy { $0.offset == 3 || $0.offset == 18 || $0.element == 1.5 })
  }

  @Test(arguments: Level.all)
  func `subnormal numbers keep their value`(_ level: Level) {
    let tiny = Float.leastNonzeroMagnitude
    let row = [Float](repeating: tiny, count: 21)
    var dot: Float = 0
    var sums = [Float](repeating: 0, count: 21)
    level.kernels.f32.row_dots(row, 21, nil, 1, [Float](repeating: 2, count: 21), 21, &dot)
    level.kernels.f32.row_sum(row, 21, nil, [3], 1, 1, 21, &sums)
    #expect(dot == 42 * tiny)
    #expect(sums == [Float](repeating: 3 * tiny, count: 21))
  }
}
