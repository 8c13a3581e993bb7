/// Queries out of the caller's memory.

import CollectiveKV
import Testing

struct RowSourceTests {
  private static func bytes(_ numbers: [Float], width: Int, gap: Int, _ element: ElementType) -> [UInt8] {
    var bytes: [UInt8] = []
    for (place, number) in numbers.enumerated() {
      if place > 0, place % width == 0 { bytes += Array(repeating: 0xEE, count: gap) }
      switch element {
      case .f32: withUnsafeBytes(of: number) { bytes += $0 }
      case .f16: withUnsafeBytes(of: Float16(number)) { bytes += $0 }
      case .bf16, .i8: withUnsafeBytes(of: UInt16(number.bitPattern >> 16)) { bytes += $0 }
      }
    }
    return bytes
  }

  @Test(arguments: [ElementType.f32, .f16, .bf16], [0, 1, 2, 5, 64])
  func `queries of any element type and stride attend as their numbers do`(element: ElementType, gap: Int) throws {
    let directory = try TemporaryDirectory()
    let store = try directory.makeStore(.plain)
    try store.append(user: 1, embeddings: (0..<60).map { Float($0 % 7) / 4 - 0.5 })
    // Multiples of 1/8 below 4: every type holds them.
    let numbers = (0..<24).map { Float($0 * 5 % 31 - 15) / 8 }
    try Self.bytes(numbers, width: 8, gap: gap, element).withUnsafeBytes { bytes in
      let source = RowSource(bytes, rowByteCount: gap == 0 ? nil : 8 * element.byteCount + gap, element: element)
      #expect(try source.floats(3, width: 8) == numbers)
      let request = try AttendRequest(user: 1, queries: source, count: 3, width: 8)
      let output = try store.attend([request])[0].output
      expectSame(difference(output, try store.attend(numbers, user: 1)))
    }
  }

  @Test func `memory that does not hold the queries, or rows that overlap, are refused`() {
    [UInt8](repeating: 0, count: 31).withUnsafeBytes { bytes in
      func refusal(_ count: Int, _ width: Int, _ rowByteCount: Int? = nil, _ element: ElementType = .f16) -> String {
        reason(
          thrown { () throws(StoreError) in
            _ = try RowSource(bytes, rowByteCount: rowByteCount, element: element).floats(count, width: width)
          })
      }
      #expect(refusal(2, 8) == "31 bytes do not hold 2 queries of 16, 16 apart")
      #expect(refusal(1, 16) == "31 bytes do not hold 1 queries of 32, 32 apart")
      #expect(refusal(2, 4, 24) == "31 bytes do not hold 2 queries of 8, 24 apart")
      #expect(refusal(.max, 4, 8).contains("do not hold"))
      #expect(refusal(2, 4, 7) == "31 bytes do not hold 2 queries of 8, 7 apart")
      #expect(refusal(.max, 4, 0).contains("do not hold"))
      #expect(refusal(2, 4, -8).contains("do not hold"))
      #expect(refusal(-1, 4) == "-1 queries of 4 numbers")
      #expect(refusal(1, -4) == "1 queries of -4 numbers")
      #expect(refusal(1, .max) == "1 queries of \(Int.max) numbers")
      #expect(refusal(1, 4, nil, .i8) == "queries are read as f32, f16 or bf16, not i8")
    }
  }
}
