/// The attention functions, with what each needs beside queries: the one place where their parameters are checked.
/// What they compute stands in a file each; `AttentionCall` brings them the positions of every query.

internal import CKernels
package import CacheTypes

/// The keys that `select` searches, and what it searches them for.
package struct Search: Sendable {
  package var shape: PartShape
  package var tensors: PartTensors
  /// The search layer's columns of the same positions; values in them are left alone.
  package var entries: LayerEntries
  /// One per query: `count x d_k` of the search layer, row-major.
  package var queries: [Float]

  package init(shape: PartShape, tensors: PartTensors, entries: LayerEntries, queries: [Float]) {
    self.shape = shape
    self.tensors = tensors
    self.entries = LayerEntries(keyIndices: entries.keyIndices, keyUser: entries.keyUser)
    self.queries = queries
  }
}

/// What is done with the positions that a query sees. Selections compare unscaled dot products in 32-bit floats, and of
/// equal ones keep the later position; a selection of as many positions as there are, or more, keeps all.
package enum AttentionFunction: Sendable {
  /// Scaled dot product attention, head by head.
  case softmax
  /// Per head, softmax over the `top` greatest dot products of that head.
  case topk(top: Int)
  /// Softmax over the positions whose search keys have the `top` greatest dot products with the search query.
  case select(top: Int, search: Search)
  /// Softmax over the `top` positions whose keys' hash codes differ least from the query's. One group of rotations.
  case simhash(top: Int, rotations: HashRotations)
  /// Mean over the groups of the sum of the values whose keys' hash codes equal the query's, each sum divided by its
  /// l2 norm or not. A group without such a position counts as zeros.
  case sdim(rotations: HashRotations, isNormalised: Bool)
  /// Values weighted by `silu(scale q.k + bias) / divisor`; `bias[d]` belongs to the position d before the latest.
  case silu(divisor: Float, bias: [Float]?)
}

extension AttentionFunction {
  /// Whether queries that see the same positions can go side by side.
  package var goesInBlocks: Bool {
    switch self {
    case .softmax, .silu: true
    case .topk, .select, .simhash, .sdim: false
    }
  }

  /// Checks what does not depend on the queries.
  ///
  /// - Throws: `StoreError.invalidInput`: a top below 1; a divisor that is 0 or not finite; rotations that do not fit
  ///   `d_k`; a number that is not finite in them or in a bias.
  package func checkParameters(_ shape: LayerShape) throws(StoreError) {
    switch self {
    case .softmax: break
    case .topk(let top), .select(let top, _): try Self.check(top: top)
    case .simhash(let top, let rotations):
      try Self.check(top: top)
      try Self.check(rotations, width: shape.key.width)
      guard rotations.groups == 1 else {
        throw .invalidInput("\(rotations.groups) groups of rotations; simhash takes one")
      }
    case .sdim(let rotations, _): try Self.check(rotations, width: shape.key.width)
    case .silu(let divisor, let bias):
      guard divisor.isFinite, divisor != 0 else {
        throw .invalidInput("a divisor of \(divisor); a finite number other than 0 is needed")
      }
      if let bias, let place = Self.firstNotFinite(bias) {
        throw .invalidInput("the position bias holds \(bias[place]) at \(place)")
      }
    }
  }

  /// Checks everything.
  ///
  /// - Throws: `StoreError.invalidInput`: as `checkParameters`; search queries that are not one per query, or not
  ///   finite; a bias shorter than the longest range.
  func check(_ shape: LayerShape, queries: Int, longestRange: Int) throws(StoreError) {
    try checkParameters(shape)
    if case .select(_, let search) = self { try Self.check(search, queries: queries) }
    if case .silu(_, let bias?) = self, bias.count < longestRange {
      throw .invalidInput("\(bias.count) position biases for a query that sees \(longestRange) positions")
    }
  }

  private static func check(top: Int) throws(StoreError) {
    guard top >= 1 else { throw .invalidInput("a top of \(top) positions; at least 1 is needed") }
  }

  /// Rotations that are kept were looked through when they were made.
  static func check(_ rotations: HashRotations, width: Int) throws(StoreError) {
    guard rotations.groups >= 1, rotations.bits >= 1 else {
      throw .invalidInput("\(rotations.groups) groups of \(rotations.bits) rotations; at least one of one is needed")
    }
    let (vectors, isTooMany) = rotations.groups.multipliedReportingOverflow(by: rotations.bits)
    let (numbers, isTooLong) = vectors.multipliedReportingOverflow(by: width)
    guard !isTooMany, !isTooLong, vectors <= Self.rotationLimit, rotations.values.count == numbers else {
      throw .invalidInput(
        "\(rotations.values.count) numbers for \(rotations.groups) groups of \(rotations.bits) rotations of \(width), "
          + "at most \(Self.rotationLimit) in all")
    }
    if rotations.kept == nil, let place = firstNotFinite(rotations.values) {
      throw .invalidInput("rotation \(place / width) holds \(rotations.values[place]) at \(place % width)")
    }
  }

  private static func check(_ search: Search, queries: Int) throws(StoreError) {
    let width = search.shape.width
    let (wanted, overflow) = queries.multipliedReportingOverflow(by: width)
    guard !overflow, search.queries.count == wanted else {
      throw .invalidInput("\(search.queries.count) search query numbers for \(queries) queries of \(width)")
    }
    if let place = firstNotFinite(search.queries) {
      throw .invalidInput("search query at row \(place / width) holds \(search.queries[place]) at \(place % width)")
    }
  }

  /// Bits of a hash code, all groups together.
  private static let rotationLimit = 1 << 20

  private static func firstNotFinite(_ numbers: [Float]) -> Int? {
    let place = unsafe numbers.withUnsafeBufferPointer { numbers in
      numbers.isEmpty ? 0 : unsafe Kernels.active.first_nonfinite_f32(numbers.baseAddress!, numbers.count)
    }
    return place < numbers.count ? place : nil
  }
}
