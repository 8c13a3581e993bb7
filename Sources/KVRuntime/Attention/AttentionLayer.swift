/// One layer's keys and values as attention reads them, and the two identities, head by head, that keep it from
/// building them:
///
///     scores   q . K_i        = q_u . u_k[i] + t[I_k[i]],          t = P_k q_c
///     output   sum_i a_i V_i  = [ sum_i a_i u_v[i] ; P_v^T h ],    h[j] = sum of a_i with I_v[i] = j
///
/// and in the additive form q_u = B_k^T q, q_c = q, output P_v^T h + B_v sum_i a_i u_v[i]. t and h are taken over the
/// pool rows in use. Where a range is short beside the pool, pool rows are read position by position instead:
/// `AttentionPaths` chooses, so that a query's result is the same bits whatever other queries and positions come with
/// it.

internal import CKernels
internal import CacheTypes

/// Pointers to one side's columns and pool, valid while the closure that made them runs.
@unsafe
struct SideColumns {
  let shape: PartShape
  let kernelTable: UnsafePointer<ckv_row_kernels>
  /// One pool index per position.
  let indices: UnsafePointer<UInt32>
  /// Dimension d of position i is `user[d * count + i]`.
  let user: UnsafePointer<Float>
  let count: Int
  let pool: UnsafeRawPointer
  let element: ElementType
  /// The transposed basis, `d_u x d_g`; empty in the concatenated form.
  let basis: UnsafePointer<Float>

  var kernels: ckv_row_kernels { @inline(__always) get { unsafe kernelTable.pointee } }

  /// The pool from column `column` of its first row on.
  func poolColumn(_ column: Int) -> UnsafeRawPointer { unsafe pool + column * element.byteCount }
}

/// What a call of attention prepares once: kernels, bases, and scratch for the longest range. Not for two threads at
/// once.
@safe
struct AttentionLayer: ~Copyable {
  let shape: LayerShape
  let value: PartShape
  private let kernelTable: UnsafePointer<ckv_kernels>
  let paths: AttentionPlan
  let scratch: AttentionScratch
  private let tensors: LayerTensors
  private let keyBasis: [Float]
  private let valueBasis: [Float]

  /// - Throws: `StoreError.invalidInput` for a key-only layer.
  /// - Precondition: the tensors fit the shape.
  init(
    _ shape: LayerShape, _ tensors: LayerTensors, longestRange: Int, _ forced: ForcedPaths? = nil
  ) throws(StoreError) {
    guard let value = shape.value, tensors.value != nil else {
      throw .invalidInput("the layer is key-only: there are no values to attend to")
    }
    self.shape = shape
    self.value = value
    self.tensors = tensors
    unsafe kernelTable = Kernels.table
    keyBasis = shape.key.isAdditive ? tensors.key.basisRows() : []
    valueBasis = value.isAdditive ? tensors.value!.basisRows() : []
    paths = AttentionPlan.of(shape, tensors, forced)
    scratch = AttentionScratch.take(
      for: AttentionScratch.Need(
        positions: longestRange, keyRows: paths.mayListRows(longestRange) ? shape.key.poolRows : 0,
        valueRows: paths.mayAddUp(longestRange) ? value.poolRows : 0,
        gathered: min(longestRange, paths.gatherLimit), heads: shape.heads,
        dimensions: max(shape.key.userWidth, value.userWidth)))
  }

  deinit { scratch.giveBack() }

  var kernels: ckv_kernels { @inline(__always) get { unsafe kernelTable.pointee } }

  /// Whether kernels can find every place of a group's table.
  static func canUseTables(_ part: PartShape) -> Bool { part.poolRows <= Int(Int32.max) / HeadGroup.size }

  /// Hands the columns of both sides to `body`.
  func withColumns<Failure: Error>(
    _ entries: LayerEntries, count: Int, _ body: (SideColumns, SideColumns) throws(Failure) -> Void
  ) throws(Failure) {
    try unsafe withSide(
      shape.key, tensors.key, keyBasis, entries.keyIndices, entries.keyUser, count
    ) { (keys) throws(Failure) in
      try unsafe withSide(
        value, tensors.value!, valueBasis, shape.sharesRouter ? entries.keyIndices : entries.valueIndices,
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
                shape: part, kernelTable: unsafe kernelTable.rows(of: tensors.pool.element),
                indices: indices.baseAddress ?? UnsafePointer(scratch.rows),
                user: user.baseAddress ?? nowhere.assumingMemoryBound(to: Float.self), count: count,
                pool: pool.baseAddress ?? nowhere, element: tensors.pool.element,
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
    let slice = HeadSlice(head, of: shape.heads, shape.key)
    let own = unsafe ownPart(query, slice, keys)
    let indices = unsafe keys.indices + range.lowerBound
    let columns = unsafe own.columns + range.lowerBound
    let poolQuery = unsafe query + slice.poolColumns.lowerBound
    let pool = unsafe keys.poolColumn(slice.pool.lowerBound)
    let stride = unsafe keys.shape.poolWidth
    if let table = unsafe scratch.candidate {
      let place = CandidateTables.Place(head: head, of: shape)
      return unsafe kernels.scores_f32(
        table + place.start, place.stride, indices, columns, keys.count, own.coefficients, slice.user.count, scale,
        range.count, scratch.scores)
    }
    let path = paths.scores(range.count, byHead: true)
    if path == .gather {
      unsafe keys.kernels.row_dots(pool, stride, indices, range.count, poolQuery, slice.pool.count, scratch.scores)
      return unsafe kernels.scores_f32(
        nil, 0, nil, columns, keys.count, own.coefficients, slice.user.count, scale, range.count, scratch.scores)
    }
    if path == .allRows {
      unsafe keys.kernels.row_dots(
        pool, stride, nil, keys.shape.poolRows, poolQuery, slice.pool.count, scratch.table)
    } else {
      let used = unsafe findUsedRows(indices, range.count, keys.shape)
      unsafe keys.kernels.row_dots(
        pool, stride, scratch.usedRows, used, poolQuery, slice.pool.count, scratch.products)
      unsafe ckv_spread_f32(scratch.products, scratch.usedRows, used, scratch.table)
    }
    return unsafe kernels.scores_f32(
      scratch.table, 1, indices, columns, keys.count, own.coefficients, slice.user.count, scale, range.count,
      scratch.scores)
  }

  /// Lists the pool rows that `count` indices name in the scratch's used rows.
  ///
  /// - Returns: how many.
  func findUsedRows(_ indices: UnsafePointer<UInt32>, _ count: Int, _ part: PartShape) -> Int {
    unsafe kernels.used_rows_u32(indices, count, part.poolRows, scratch.marks, scratch.usedRows)
  }

  /// The first of a head's user columns, and the query's factors on them: in the additive form computed into the
  /// scratch's coefficients.
  func ownPart(
    _ query: UnsafePointer<Float>, _ slice: HeadSlice, _ keys: SideColumns
  ) -> (columns: UnsafePointer<Float>, coefficients: UnsafePointer<Float>) {
    let columns = unsafe keys.user + slice.user.lowerBound * keys.count
    guard unsafe keys.shape.isAdditive else { return unsafe (columns, query + slice.user.lowerBound) }
    unsafe kernels.f32.row_dots(
      keys.basis + slice.columns.lowerBound, keys.shape.poolWidth, nil, slice.user.count,
      query + slice.columns.lowerBound, slice.columns.count, scratch.coefficients)
    return unsafe (columns, UnsafePointer(scratch.coefficients))
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
    let slice = HeadSlice(head, of: shape.heads, value)
    let weights = unsafe scratch.scores
    let width = unsafe values.shape.poolWidth
    let pool = unsafe values.poolColumn(slice.pool.lowerBound)
    let target = unsafe output + slice.poolColumns.lowerBound
    if paths.sums(range.count, byHead: true) == .rowSums {
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
    unsafe weighOwnPart(slice, values, weights, range, scale: scale, into: output)
  }

  /// `scale` times the sum of the user parts in `range`, weighted, into one head's slice of `output`; in the additive
  /// form added to what is there.
  func weighOwnPart(
    _ slice: HeadSlice, _ values: SideColumns, _ weights: UnsafePointer<Float>, _ range: Range<Int>, scale: Float,
    into output: UnsafeMutablePointer<Float>
  ) {
    let sums = unsafe values.shape.isAdditive ? scratch.coefficients : output + slice.user.lowerBound
    for place in 0..<slice.user.count {
      let column = unsafe values.user + (slice.user.lowerBound + place) * values.count + range.lowerBound
      unsafe sums[place] = scale * kernels.dot_f32(weights, column, range.count)
    }
    if unsafe values.shape.isAdditive {
      unsafe kernels.add_rows_f32(
        values.basis + slice.columns.lowerBound, values.shape.poolWidth, sums, 1, slice.user.count, slice.columns.count,
        output + slice.columns.lowerBound)
    }
  }
}
