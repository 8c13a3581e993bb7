/// The functions that compare hash codes: softmax over the nearest positions (ETA), and sums over the positions whose
/// codes are the query's (SDIM). They rely on `HashCodes` for codes and for room to note down what they find.

internal import CKernels
internal import CacheTypes

/// Softmax over the positions whose codes differ from the query's in the fewest bits.
final class SimhashFormula: AttentionFormula {
  private let codes: HashCodes
  private let top: Int
  private let longestRange: Int
  private let subset: SubsetSoftmax

  init(top: Int, _ codes: HashCodes, _ shape: LayerShape, longestRange: Int) {
    self.codes = codes
    self.top = top
    self.longestRange = longestRange
    subset = SubsetSoftmax(shape, capacity: min(top, longestRange))
  }

  func prepare(_ columns: AttendedColumns, _ range: Range<Int>) {
    // Where every query keeps all that it sees, nobody looks at a code.
    if top < longestRange { unsafe codes.encode(columns.keys, range) }
  }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    let scratch = codes.scratch
    if top < range.count {
      unsafe codes.encode(query: query.numbers)
      unsafe Kernels.activeHashes.nearest_u64(
        codes.keys(from: range.lowerBound), scratch.query, codes.words, range.count, top, scratch.distances,
        scratch.places)
    }
    try unsafe subset.attend(top: top, at: scratch.places, query, columns, range, layer, into: output)
  }
}

/// Mean over the groups of the sums of the values whose codes equal the query's. Heads play no part.
final class SDIMFormula: AttentionFormula {
  private let codes: HashCodes
  private let isNormalised: Bool
  private let selection: Selection
  /// One head over the whole value.
  private let whole: AttentionLayer
  private let bucket: AlignedFloats

  init(
    _ codes: HashCodes, isNormalised: Bool, _ shape: LayerShape, _ tensors: LayerTensors, longestRange: Int
  ) throws(StoreError) {
    self.codes = codes
    self.isNormalised = isNormalised
    selection = Selection(shape, capacity: longestRange, isOfValues: true)
    whole = try AttentionLayer(
      LayerShape(key: shape.key, value: shape.value, heads: 1), tensors, longestRange: longestRange)
    bucket = AlignedFloats(roomFor: shape.value?.width ?? 0)
  }

  func prepare(_ columns: AttendedColumns, _ range: Range<Int>) { unsafe codes.encode(columns.keys, range) }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    let width = layer.shape.value!.width
    unsafe codes.encode(query: query.numbers)
    if isNormalised {
      unsafe addNormalised(columns.values, range, width, into: output)
    } else {
      unsafe addUp(columns.values, range, into: output)
    }
    guard unsafe Kernels.active.first_nonfinite_f32(output, width) == width else {
      throw unsafe .invalidInput("query at row \(query.row): a sum is beyond what 32-bit floats hold")
    }
  }

  /// Group by group: a sum, divided by its length unless it is zeros.
  private func addNormalised(
    _ values: SideColumns, _ range: Range<Int>, _ width: Int, into output: UnsafeMutablePointer<Float>
  ) {
    let places = unsafe codes.scratch.places
    for group in 0..<codes.groups {
      let count = matches(group, range)
      guard count > 0 else { continue }
      let gathered = unsafe selection.gatherValues(values, range, places, count: count)
      unsafe whole.scratch.scores.update(repeating: 1, count: count)
      unsafe whole.weigh(head: 0, gathered, 0..<count, scale: 1, into: bucket.pointer)
      let square = unsafe Kernels.activeHashes.square_sum_f32(bucket.pointer, width)
      let norm = square > 0 ? square.squareRoot() : 1
      var factor = Float(1 / (norm * Double(codes.groups)))
      unsafe whole.kernels.add_rows_f32(bucket.pointer, width, &factor, 1, 1, width, output)
    }
  }

  /// All groups at once: a position weighs as much as there are groups in which it matches.
  private func addUp(_ values: SideColumns, _ range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
    let (places, weights) = unsafe (codes.scratch.places, codes.scratch.weights)
    unsafe weights.update(repeating: 0, count: range.count)
    for group in 0..<codes.groups {
      let count = matches(group, range)
      for place in 0..<count { unsafe weights[Int(places[place])] += 1 }
    }
    let count = unsafe whole.kernels.compact_f32(weights, range.count, places, whole.scratch.scores)
    guard count > 0 else { return }
    let gathered = unsafe selection.gatherValues(values, range, places, count: count)
    unsafe whole.weigh(
      head: 0, gathered, 0..<count, scale: Float(1 / Double(codes.groups)), into: output)
  }

  /// Notes down the positions in `range` whose bits of a group are the query's.
  ///
  /// - Returns: how many.
  private func matches(_ group: Int, _ range: Range<Int>) -> Int {
    unsafe Kernels.activeHashes.matching_u64(
      codes.keys(from: range.lowerBound), codes.scratch.query, codes.words, group * codes.groupBits, codes.groupBits,
      range.count, codes.scratch.places)
  }
}
