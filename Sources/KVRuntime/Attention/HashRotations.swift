/// The vectors that hash bits come from: for one use, or for many, and then kept with what depends on them and the
/// model alone. Codes are the same bits either way.

internal import CKernels
package import CacheTypes

/// Vectors that a key's or a query's hash bits come from: bit r is 1 where the dot product with vector r is above 0.
package struct HashRotations: Sendable {
  /// `groups x bits x d_k`, row-major.
  package let values: [Float]
  package let groups: Int
  /// Bits of one group.
  package let bits: Int
  /// What is kept of rotations for many uses.
  let kept: KeptHashes?

  /// Rotations for one use.
  package init(values: [Float], groups: Int = 1, bits: Int) {
    self.values = values
    self.groups = groups
    self.bits = bits
    kept = nil
  }

  /// Rotations for many uses: those that come with a model, or that a call brings for all its requests.
  ///
  /// - Precondition: the tensors fit the shape, and their checksums were verified.
  /// - Parameter budget: what tables of this and of other rotations may take.
  /// - Throws: `StoreError.invalidInput`: as `AttentionFunction.checkParameters`.
  package init(
    values: [Float], groups: Int, bits: Int, keys shape: PartShape, _ tensors: PartTensors, budget: HashTableBudget
  ) throws(StoreError) {
    let plain = HashRotations(values: values, groups: groups, bits: bits)
    try AttentionFunction.check(plain, width: shape.width)
    self.values = values
    self.groups = groups
    self.bits = bits
    kept = KeptHashes(plain, shape, tensors, budget)
  }

  /// Whether calls score no pool row any more.
  package var hasTable: Bool { kept?.hasTable ?? false }

  /// Bits of all groups.
  var bitCount: Int { groups * bits }
  /// Words of a code: the groups' bits one after the other.
  var words: Int { (bitCount + Self.wordBits - 1) / Self.wordBits }

  static let wordBits = Int(CKV_HASH_WORD)
  /// Rotations that are scored side by side: those of a block of queries.
  static let stepBits = Int(CKV_HASH_STEP)

  /// Bits of one word of a code.
  func bits(ofWord word: Int) -> Int { min(bitCount - word * Self.wordBits, Self.wordBits) }
  /// Steps of one word of a code.
  func steps(ofWord word: Int) -> Int { (bits(ofWord: word) + Self.stepBits - 1) / Self.stepBits }
}

// MARK: - What bits are made of

extension HashRotations {
  /// Numbers of `fillCoefficients`.
  func coefficientCount(_ shape: PartShape) -> Int { words * shape.userWidth * Self.wordBits }

  /// R_u: the rotations' factors on user parts, for each word of a code and user dimension a row of one per bit; rows
  /// of a last word that has fewer are zero there.
  ///
  /// - Parameter basis: the transposed basis in the additive form.
  func fillCoefficients(_ shape: PartShape, _ basis: [Float], _ target: UnsafeMutablePointer<Float>) {
    let (dimensions, width) = (shape.userWidth, shape.width)
    guard dimensions > 0 else { return }
    unsafe target.update(repeating: 0, count: coefficientCount(shape))
    let kernels = Kernels.active
    unsafe values.withUnsafeBufferPointer { vectors in
      unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: dimensions) { own in
        for bit in 0..<bitCount {
          var factors = unsafe vectors.baseAddress! + bit * width
          if shape.isAdditive {
            unsafe kernels.f32.row_dots(basis, width, nil, dimensions, factors, width, own.baseAddress!)
            unsafe factors = UnsafePointer(own.baseAddress!)
          }
          let (word, place) = bit.quotientAndRemainder(dividingBy: Self.wordBits)
          for dimension in 0..<dimensions {
            unsafe target[(word * dimensions + dimension) * Self.wordBits + place] = factors[dimension]
          }
        }
      }
    }
  }

  /// Dot products of pool rows with the rotations of one step: rows of one per rotation.
  func score(
    step: Int, _ pool: UnsafeRawPointer, _ element: ElementType, _ shape: PartShape, _ rows: UnsafePointer<UInt32>?,
    _ count: Int, into target: UnsafeMutablePointer<Float>
  ) {
    let first = step * Self.stepBits
    let poolColumn = shape.isAdditive ? 0 : shape.userWidth
    unsafe values.withUnsafeBufferPointer { vectors in
      unsafe Kernels.activeBlocks.rows(of: element).block_dots(
        pool, shape.poolWidth, rows, count, vectors.baseAddress! + first * shape.width + poolColumn, shape.width,
        min(Self.stepBits, bitCount - first), shape.poolWidth, target)
    }
  }
}
