/// Which part of a key or value one head owns. Heads split the width evenly, so in the concatenated form a slice may
/// lie in the user part, in the pool row, or across the boundary between them.

internal import CacheTypes

/// One head's share of a key or a value.
struct HeadSlice {
  /// The slice's columns of the whole key or value.
  let columns: Range<Int>
  /// The user's dimensions that the slice needs: those it covers, or in the additive form all of them.
  let user: Range<Int>
  /// The pool's columns that the slice covers.
  let pool: Range<Int>
  /// Those columns' places in the whole key or value.
  let poolColumns: Range<Int>

  init(_ head: Int, of heads: Int, _ shape: PartShape) {
    precondition(heads > 0 && shape.width % heads == 0, "heads divide the width")
    let width = shape.width / heads
    columns = head * width..<(head + 1) * width
    if shape.isAdditive {
      user = 0..<shape.userWidth
      pool = columns
      poolColumns = columns
    } else {
      let boundary = shape.userWidth
      user = min(columns.lowerBound, boundary)..<min(columns.upperBound, boundary)
      poolColumns = max(columns.lowerBound, boundary)..<max(columns.upperBound, boundary)
      pool = poolColumns.lowerBound - boundary..<poolColumns.upperBound - boundary
    }
  }
}
