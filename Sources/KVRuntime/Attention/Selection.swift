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
  private let memory: AlignedFloats

  /// - Parameter capacity: the most positions that one selection keeps.
  init(_ shape: LayerShape, capacity: Int) {
    self.capacity = capacity
    keys = GatheredSide(shape.key, capacity: capacity)
    values = GatheredSide(shape.value ?? shape.key, capacity: capacity)
    memory = AlignedFloats(roomFor: capacity)
    unsafe places = UnsafeMutableRawPointer(memory.pointer).bindMemory(to: UInt32.self, capacity: max(capacity, 1))
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

/// Room for one side's columns of kept positions.
@safe
private final class GatheredSide {
  private let capacity: Int
  private let userWidth: Int
  private let indices: AlignedFloats
  private let user: AlignedFloats

  init(_ shape: PartShape, capacity: Int) {
    self.capacity = capacity
    userWidth = shape.userWidth
    indices = AlignedFloats(roomFor: capacity)
    user = AlignedFloats(roomFor: capacity * shape.userWidth)
  }

  func gather(
    _ columns: SideColumns, _ range: Range<Int>, _ places: UnsafePointer<UInt32>, _ count: Int
  ) -> SideColumns {
    unsafe precondition(count <= capacity && columns.shape.userWidth == userWidth)
    let target = unsafe UnsafeMutableRawPointer(indices.pointer).bindMemory(to: UInt32.self, capacity: max(count, 1))
    unsafe ckv_gather_u32(columns.indices + range.lowerBound, places, count, target)
    for dimension in 0..<userWidth {
      unsafe ckv_gather_f32(
        columns.user + dimension * columns.count + range.lowerBound, places, count, user.pointer + dimension * count)
    }
    return unsafe columns.with(indices: target, user: user.pointer, count: count)
  }
}

extension SideColumns {
  /// The same side with other positions.
  fileprivate func with(
    indices: UnsafePointer<UInt32>, user: UnsafePointer<Float>, count: Int
  ) -> SideColumns {
    unsafe SideColumns(
      shape: shape, kernels: kernels, indices: indices, user: user, count: count, pool: pool, element: element,
      basis: basis)
  }
}
