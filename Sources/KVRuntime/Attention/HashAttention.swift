/// The functions that compare hash codes: softmax over the nearest positions (ETA), and sums over the positions whose
/// codes are the query's (SDIM).

internal import CKernels
internal import CacheTypes

/// Softmax over the positions whose codes differ from the query's in the fewest bits.
final class SimhashFormula: AttentionFormula {
  private let codes: HashCodes
  private let top: Int
  private let distances: AlignedFloats
  private let subset: SubsetSoftmax

  init(top: Int, _ codes: HashCodes, _ shape: LayerShape, longestRange: Int) {
    self.codes = codes
    self.top = top
    distances = AlignedFloats(repeating: 0, count: longestRange)
    subset = SubsetSoftmax(shape, capacity: min(top, longestRange))
  }

  func prepare(_ columns: AttendedColumns, _ range: Range<Int>) { unsafe codes.encode(columns.keys, range) }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    unsafe codes.encode(query: query.numbers)
    unsafe ckv_hamming_u64(
      codes.keys(group: 0, from: range.lowerBound), codes.query(group: 0), codes.words, range.count, distances.pointer)
    try unsafe subset.attend(top: top, of: distances.pointer, query, columns, range, layer, into: output)
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
    selection = Selection(shape, capacity: longestRange)
    whole = try AttentionLayer(
      LayerShape(key: shape.key, value: shape.value, heads: 1), tensors, longestRange: longestRange)
    bucket = AlignedFloats(repeating: 0, count: shape.value?.width ?? 0)
  }

  func prepare(_ columns: AttendedColumns, _ range: Range<Int>) { unsafe codes.encode(columns.keys, range) }

  func attend(
    _ query: AttendingQuery, _ columns: AttendedColumns, _ range: Range<Int>, _ layer: borrowing AttentionLayer,
    into output: UnsafeMutablePointer<Float>
  ) throws(StoreError) {
    let width = layer.shape.value!.width
    unsafe codes.encode(query: query.numbers)
    for group in 0..<codes.groups {
      let (places, count) = unsafe selection.keep(
        matching: codes.query(group: group), codes.keys(group: group, from: range.lowerBound), words: codes.words,
        count: range.count)
      guard count > 0 else { continue }
      let values = unsafe selection.gatherValues(columns.values, range, places, count: count)
      unsafe whole.scratch.scores.update(repeating: 1, count: count)
      unsafe whole.weigh(head: 0, values, 0..<count, scale: 1, into: bucket.pointer)
      let factor = Float(1 / (norm(width) * Double(codes.groups)))
      for column in 0..<width { unsafe output[column] += bucket.pointer[column] * factor }
    }
    guard unsafe Kernels.active.first_nonfinite_f32(output, width) == width else {
      throw unsafe .invalidInput("query at row \(query.row): a sum is beyond what 32-bit floats hold")
    }
  }

  /// What the bucket's sum is divided by: 1 if it is zeros, or if sums are not normalised.
  private func norm(_ width: Int) -> Double {
    guard isNormalised else { return 1 }
    var square = 0.0
    for column in 0..<width {
      let number = unsafe Double(bucket.pointer[column])
      square += number * number
    }
    return square > 0 ? square.squareRoot() : 1
  }
}
