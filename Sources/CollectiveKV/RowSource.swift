/// Queries that lie in memory of the caller's, such as a tensor that another device wrote, as f32, f16 or bf16 and with
/// gaps between rows. They are widened, which is exact, and copied; the memory is not looked at after the call.

internal import KVRuntime

/// Memory that queries are read from, row after row. It stays the caller's.
@unsafe
public struct RowSource {
  public var bytes: UnsafeRawBufferPointer
  /// Bytes from one row's start to the next one's; `nil`: rows follow each other without a gap.
  public var rowByteCount: Int?
  /// f32, f16 or bf16.
  public var element: ElementType

  public init(_ bytes: UnsafeRawBufferPointer, rowByteCount: Int? = nil, element: ElementType) {
    unsafe self.bytes = bytes
    unsafe self.rowByteCount = rowByteCount
    unsafe self.element = element
  }

  /// The first `count` rows of `width` numbers.
  ///
  /// - Throws: `StoreError.invalidInput` for an element type other than f32, f16 or bf16, numbers below 0, rows that
  ///   overlap, or memory too small for them.
  /// - Complexity: O(count · width).
  public func floats(_ count: Int, width: Int) throws(StoreError) -> [Float] {
    let element = unsafe element
    guard element != .i8 else { throw .invalidInput("queries are read as f32, f16 or bf16, not \(element.name)") }
    let (needed, isTooWide) = width.multipliedReportingOverflow(by: element.byteCount)
    guard count >= 0, width >= 0, !isTooWide else { throw .invalidInput("\(count) queries of \(width) numbers") }
    guard count > 0, width > 0 else { return [] }
    let rowByteCount = unsafe rowByteCount ?? needed
    let (gaps, isTooLong) = rowByteCount.multipliedReportingOverflow(by: count - 1)
    let room = unsafe bytes.count
    guard rowByteCount >= needed, !isTooLong, room >= needed, gaps <= room - needed,
      let start = unsafe bytes.baseAddress
    else {
      throw .invalidInput("\(room) bytes do not hold \(count) queries of \(needed), \(rowByteCount) apart")
    }
    return unsafe WideningRows(start, rowByteCount: rowByteCount, element: element).floats(count, width: width)
  }
}

extension AttendRequest {
  /// A request whose `count` queries of `width` numbers lie in memory.
  ///
  /// - Throws: `StoreError.invalidInput`: see `RowSource.floats`.
  public init(
    user: UserID, queries: RowSource, count: Int, width: Int, positions: [Int]? = nil, selectQueries: [Float]? = nil
  ) throws(StoreError) {
    self.init(
      user: user, queries: try unsafe queries.floats(count, width: width), positions: positions,
      selectQueries: selectQueries)
  }
}
