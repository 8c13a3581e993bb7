/// Positions that a function keeps out of those that a query sees, and their columns, gathered: the steps of
/// `AttentionLayer` then run on them as on any range, and what was not kept is not read again.

internal import CKernels
internal import CacheTypes

/// Memory for one selection at a time.
@safe
final class Selection {
  private let capacity: Int
  private let places: UnsafeMutablePointer<UInt32>
  private let keys: GatheredSide
  private let values: GatheredSide
  /// All of it, in one piece: several took a call's allocator into its slow parts.
  private let memory: AlignedFloats

  /// - Parameters:
  ///   - capacity: the most positions that one selection keeps.
  ///   - isOfValues: whether nobody will ask for keys, nor for the places of the greatest scores.
  init(_ shape: LayerShape, capacity: Int, isOfValues: Bool = false) {
    self.capacity = capacity
    let value = shape.value ?? shape.key
    let keyCount = isOfValues ? 0 : capacity * (1 + shape.key.userWidth)
    memory = AlignedFloats(roomFor: (isOfValues ? 0 : capacity) + keyCount + capacity * (1 + value.userWidth))
    let start = unsafe memory.pointer
    unsafe values = GatheredSide(value, capacity: capacity, start)
    unsafe keys = GatheredSide(
      shape.key, capacity: isOfValues ? 0 : capacity, start + capacity * (1 + value.userWidth))
    unsafe places = UnsafeMutableRawPointer(start + capacity * (1 + value.userWidth) + keyCount)
      .assumingMemoryBound(to: UInt32.self)
  }

  /// Keeps the `top` greatest of `count` scores; of equal ones the later position.
  ///
  /// - Returns: the places kept, ascending.
  /// - Precondition: no score is NaN; `top` is below `count` and at most the capacity.
  func keep(top: Int, of scores: UnsafePointer<Float>, count: Int) -> UnsafePointer<UInt32> {
    precondition(top >= 1 && top <= capacity && top <= count, "a selection fits what was made for it")
    unsafe ckv_select_top_f32(scores, count, top, places)
    return unsafe UnsafePointer(places)
  }

  /// The kept positions' keys: places count from `range`'s start.
  func gatherKeys(
    _ columns: SideColumns, _ range: Range<Int>, _ places: UnsafePointer<UInt32>, count: Int
  ) -> SideColumns {
    unsafe keys.gather(columns, range, places, count)
  }

  /// The same for values.
  func gatherValues(
    _ columns: SideColumns, _ range: Range<Int>, _ places: UnsafePointer<UInt32>, count: Int
  ) -> SideColumns {
    unsafe values.gather(columns, range, places, count)
  }
}

/// Room for one side's columns of kept positions: somebody else's memory.
@unsafe
private struct GatheredSide {
  private let capacity: Int
  private let userWidth: Int
  private let indices: UnsafeMutablePointer<UInt32>
  private let user: UnsafeMutablePointer<Float>

  init(_ shape: PartShape, capacity: Int, _ start: UnsafeMutablePointer<Float>) {
    unsafe self.capacity = capacity
    unsafe userWidth = shape.userWidth
    unsafe indices = UnsafeMutableRawPointer(start).assumingMemoryBound(to: UInt32.self)
    unsafe user = start + capacity
  }

  func gather(
    _ columns: SideColumns, _ range: Range<Int>, _ places: UnsafePointer<UInt32>, _ count: Int
  ) -> SideColumns {
    unsafe precondition(count <= capacity && columns.shape.userWidth == userWidth)
    unsafe ckv_gather_u32(columns.indices + range.lowerBound, places, count, indices)
    for dimension in unsafe 0..<userWidth {
      unsafe ckv_gather_f32(
        columns.user + dimension * columns.count + range.lowerBound, places, count, user + dimension * count)
    }
    return unsafe columns.with(indices: indices, user: user, count: count)
  }
}

extension SideColumns {
  /// The same side with other positions.
  fileprivate func with(
    indices: UnsafePointer<UInt32>, user: UnsafePointer<Float>, count: Int
  ) -> SideColumns {
    unsafe SideColumns(
      shape: shape, kernelTable: kernelTable, indices: indices, user: user, count: count, pool: pool, element: element,
      basis: basis)
  }
}
