/// One layer's keys and values as attention reads them, and the two identities that keep it from building them:
///
///     scores   q . K_i        = q_u . u_k[i] + t[I_k[i]],          t = P_k q_c
///     output   sum_i a_i V_i  = [ sum_i a_i u_v[i] ; P_v^T h ],    h[j] = sum of a_i with I_v[i] = j
///
/// and in the additive form q_u = B_k^T q, q_c = q, output P_v^T h + B_v sum_i a_i u_v[i]. Where a range is short
/// beside the pool, pool rows are read position by position instead; that choice depends on the range's length and the
/// pool's alone, so a query's result is the same bits whatever other queries and positions come with it.

internal import CKernels
internal import CacheTypes

/// Pointers to one side's columns and pool, valid while the closure that made them runs.
@unsafe
struct SideColumns {
  let shape: PartShape
  let kernels: ckv_row_kernels
  /// One pool index per position.
  let indices: UnsafePointer<UInt32>
  /// Dimension d of position i is `user[d * count + i]`.
  let user: UnsafePointer<Float>
  let count: Int
  let pool: UnsafeRawPointer
  let elementByteCount: Int
  /// The transposed basis, `d_u x d_g`; empty in the concatenated form.
  let basis: UnsafePointer<Float>

  /// The pool from column `column` of its first row on.
  func poolColumn(_ column: Int) -> UnsafeRawPointer { unsafe pool + column * elementByteCount }
}

/// What a call of attention prepares once: kernels, head slices, bases, and scratch for the longest range. Not for
/// two threads at once.
struct AttentionLayer: ~Copyable {
  let shape: LayerShape
  let keySlices: [HeadSlice]
  let valueSlices: [HeadSlice]
  private let value: PartShape
  private let tensors: LayerTensors
  private let valueTensors: PartTensors
  private let kernels: ckv_kernels
  private let keyBasis: [Float]
  private let valueBasis: [Float]
  let scratch: AttentionScratch

  /// - Throws: `StoreError.invalidInput` for a key-only layer.
  /// - Precondition: the tensors fit the shape.
  init(_ shape: LayerShape, _ tensors: LayerTensors, longestRange: Int) throws(StoreError) {
    guard let value = shape.value, let valueTensors = tensors.value else {
      throw .invalidInput("the layer is key-only: there are no values to attend to")
    }
    self.shape = shape
    self.value = value
    self.tensors = tensors
    self.valueTensors = valueTensors
    kernels = Kernels.active
    keySlices = (0..<shape.heads).map { HeadSlice($0, of: shape.heads, shape.key) }
    valueSlices = (0..<shape.heads).map { HeadSlice($0, of: shape.heads, value) }
    keyBasis = shape.key.isAdditive ? tensors.key.basis!.transposed() : []
    valueBasis = value.isAdditive ? valueTensors.basis!.transposed() : []
    scratch = AttentionScratch(
      positions: longestRange,
      table: Self.usesTable(longestRange, shape.key) ? shape.key.poolRows : 0,
      sums: Self.usesSums(longestRange, value) ? value.poolRows : 0,
      dimensions: max(shape.key.userWidth, value.userWidth))
  }

  /// Whether a dot product per pool row comes cheaper than one per position. A row read in turn costs about what a row
  /// read by index does, and looking the products up comes on top: so from somewhat more than m positions on.
  static func usesTable(_ positions: Int, _ part: PartShape) -> Bool {
    positions >= part.poolRows + part.poolRows / 4 && part.poolRows <= Int(Int32.max)
  }

  /// Whether adding up weights per pool row first comes cheaper than a pool row per position. Adding them up costs a
  /// pass over the positions and one over the pool's rows per head: so from somewhat more than m positions on.
  static func usesSums(_ positions: Int, _ part: PartShape) -> Bool {
    positions >= part.poolRows + part.poolRows / 4
  }

  /// Hands the columns of both sides to `body`.
  func withColumns<Failure: Error>(
    _ entries: LayerEntries, count: Int, _ body: (SideColumns, SideColumns) throws(Failure) -> Void
  ) throws(Failure) {
    try unsafe withSide(
      shape.key, tensors.key, keyBasis, entries.keyIndices, entries.keyUser, count
    ) { (keys) throws(Failure) in
      try unsafe withSide(
        value, valueTensors, valueBasis, shape.sharesRouter ? entries.keyIndices : entries.valueIndices,
        entries.valueUser, count
      ) { (values) throws(Failure) in
        try unsafe body(keys, values)
      }
    }
  }

  private func withSide<Failure: Error>(
    _ part: PartShape, _ tensors: PartTensors, _ basis: [Float], _ indices: [UInt32], _ user: [Float], _ count: Int,
    _ body: (SideColumns) throws(Failure) -> Void
  ) throws(Failure) {
    precondition(tensors.pool.count == part.poolRows * part.poolWidth)
    precondition(basis.count == (part.isAdditive ? part.poolWidth * part.userWidth : 0))
    try unsafe tensors.pool.withUnsafeBytes { (pool) throws(Failure) in
      try unsafe basis.withUnsafeBufferPointer { (basis) throws(Failure) in
        try unsafe indices.withUnsafeBufferPointer { (indices) throws(Failure) in
          try unsafe user.withUnsafeBufferPointer { (user) throws(Failure) in
            // Columns without numbers may have no address; nothing is read from the one that stands in.
            let nowhere = unsafe UnsafeRawPointer(scratch.coefficients)
            try unsafe body(
              SideColumns(
                shape: part, kernels: kernels.rows(of: tensors.pool.element),
                indices: indices.baseAddress ?? UnsafePointer(scratch.rows),
                user: user.baseAddress ?? nowhere.assumingMemoryBound(to: Float.self), count: count,
                pool: pool.baseAddress ?? nowhere, elementByteCount: tensors.pool.element.byteCount,
                basis: basis.baseAddress ?? nowhere.assumingMemoryBound(to: Float.self)))
          }
        }
      }
    }
  }
}

// MARK: - The identities

extension AttentionLayer {
  /// Scaled dot products of one head's query with the keys in `range`, in the scratch's scores from 0 on.
  ///
  /// - Returns: the greatest.
  func score(
    _ query: UnsafePointer<Float>, head: Int, _ keys: SideColumns, _ range: Range<Int>, scale: Float
  ) -> Float {
    let slice = keySlices[head]
    let indices = unsafe keys.indices + range.lowerBound
    let columns = unsafe keys.user + slice.user.lowerBound * keys.count + range.lowerBound
    let coefficients: UnsafePointer<Float>
    let poolQuery: UnsafePointer<Float>
    if unsafe keys.shape.isAdditive {
      unsafe kernels.f32.row_dots(
        keys.basis + slice.columns.lowerBound, keys.shape.poolWidth, nil, slice.user.count,
        query + slice.columns.lowerBound, slice.columns.count, scratch.coefficients)
      unsafe coefficients = UnsafePointer(scratch.coefficients)
      unsafe poolQuery = query + slice.columns.lowerBound
    } else {
      unsafe coefficients = query + slice.user.lowerBound
      unsafe poolQuery = query + keys.shape.userWidth + slice.pool.lowerBound
    }
    let pool = unsafe keys.poolColumn(slice.pool.lowerBound)
    let stride = unsafe keys.shape.poolWidth
    if unsafe Self.usesTable(range.count, keys.shape) {
      unsafe keys.kernels.row_dots(
        pool, stride, nil, keys.shape.poolRows, poolQuery, slice.pool.count, scratch.table)
      return unsafe kernels.scores_f32(
        scratch.table, indices, columns, keys.count, coefficients, slice.user.count, scale, range.count, scratch.scores)
    }
    unsafe keys.kernels.row_dots(pool, stride, indices, range.count, poolQuery, slice.pool.count, scratch.scores)
    return unsafe kernels.scores_f32(
      nil, nil, columns, keys.count, coefficients, slice.user.count, scale, range.count, scratch.scores)
  }

  /// Turns the scratch's scores into e^(score - greatest).
  ///
  /// - Returns: their sum; not finite if a score is NaN or the greatest is infinite.
  func exponentiate(_ count: Int, greatest: Float) -> Double {
    unsafe kernels.exp_sum_f32(scratch.scores, count, greatest)
  }

  /// `scale` times the sum of the values in `range`, weighted by the scratch's scores, into one head's slice of
  /// `output`.
  func weigh(
    head: Int, _ values: SideColumns, _ range: Range<Int>, scale: Float, into output: UnsafeMutablePointer<Float>
  ) {
    let slice = valueSlices[head]
    let weights = unsafe scratch.scores
    let width = unsafe values.shape.poolWidth
    let pool = unsafe values.poolColumn(slice.pool.lowerBound)
    let target = unsafe output + (values.shape.isAdditive ? 0 : values.shape.userWidth) + slice.pool.lowerBound
    if unsafe Self.usesSums(range.count, values.shape) {
      let rows = unsafe values.shape.poolRows
      unsafe scratch.sums.update(repeating: 0, count: rows)
      unsafe ckv_scatter_add_f32(scratch.sums, values.indices + range.lowerBound, weights, range.count)
      let used = unsafe kernels.compact_f32(scratch.sums, rows, scratch.rows, scratch.weights)
      unsafe values.kernels.row_sum(
        pool, width, scratch.rows, scratch.weights, used, scale, slice.pool.count, target)
    } else {
      unsafe values.kernels.row_sum(
        pool, width, values.indices + range.lowerBound, weights, range.count, scale, slice.pool.count, target)
    }
    let userSums = unsafe values.shape.isAdditive ? scratch.coefficients : output + slice.user.lowerBound
    for (place, dimension) in slice.user.enumerated() {
      let column = unsafe values.user + dimension * values.count + range.lowerBound
      unsafe userSums[place] = scale * kernels.dot_f32(weights, column, range.count)
    }
    if unsafe values.shape.isAdditive {
      unsafe kernels.add_rows_f32(
        values.basis + slice.columns.lowerBound, width, userSums, 1, slice.user.count, slice.columns.count,
        output + slice.columns.lowerBound)
    }
  }
}

/// Memory that every query of a call uses anew.
@safe
final class AttentionScratch {
  /// One per position of the longest range: scores, then weights.
  let scores: UnsafeMutablePointer<Float>
  /// t: one per row of the keys' pool, if the longest range uses a table.
  let table: UnsafeMutablePointer<Float>
  /// h: one per row of the values' pool, if the longest range uses sums; then the rows in use and their sums.
  let sums: UnsafeMutablePointer<Float>
  let rows: UnsafeMutablePointer<UInt32>
  let weights: UnsafeMutablePointer<Float>
  /// One per dimension of the wider user part.
  let coefficients: UnsafeMutablePointer<Float>
  private let memory: AlignedFloats

  init(positions: Int, table tableCount: Int, sums sumCount: Int, dimensions: Int) {
    // Each piece starts on a boundary of 16 numbers.
    let counts = [positions, tableCount, sumCount, sumCount, dimensions, sumCount].map { ($0 + 15) / 16 * 16 + 16 }
    memory = AlignedFloats(repeating: 0, count: counts.reduce(0, +))
    var next = unsafe memory.pointer
    var pieces: [UnsafeMutablePointer<Float>] = unsafe []
    for count in counts {
      unsafe pieces.append(next)
      unsafe next += count
    }
    unsafe scores = pieces[0]
    unsafe table = pieces[1]
    unsafe sums = pieces[2]
    unsafe weights = pieces[3]
    unsafe coefficients = pieces[4]
    unsafe rows = UnsafeMutableRawPointer(pieces[5]).bindMemory(to: UInt32.self, capacity: counts[5])
  }
}
