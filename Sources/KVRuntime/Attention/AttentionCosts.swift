/// What each way through attention takes, in nanoseconds: as functions of how long a range is, how long and how wide a
/// pool is, and how many heads and queries there are. `AttentionPaths` chooses by them. The coefficients are in
/// `AttentionCosts+Measured.swift`; a benchmark fits them and a test holds them against the clock.

/// How dot products of keys come about. All three give the same bits.
package enum ScorePath: Sendable, CaseIterable {
  /// A pool row per position.
  case gather
  /// A table over the pool rows in use, which are looked for first.
  case rowsInUse
  /// A table over all pool rows.
  case allRows
}

/// How values are added up. The order of the sums, and with it their bits, hangs on this.
package enum SumPath: Sendable, CaseIterable {
  /// A pool row per position.
  case gather
  /// Weights per pool row first.
  case rowSums
}

/// One side's pool, as a pass over it sees it.
package struct PoolView: Sendable {
  package var rows: Double
  /// Columns of all the heads that a pass serves.
  package var columns: Double
  /// How far away the pool is: how often its bytes double from the 1 MiB of a second-level cache on, over four.
  package var distance: Double
  /// The same from 4 MiB on, over two: pages in no order then outrun what the processor remembers of their addresses.
  package var straying: Double { max(0, 2 * distance - 1) }
  /// Heads of one pass, those of four at most.
  package var heads: Double

  package init(rows: Int, columns: Int, byteCount: Int, heads: Int) {
    self.rows = Double(rows)
    self.columns = Double(columns)
    let caches = Double(byteCount) / Double(1 << 20)
    distance = caches > 1 ? (Double(caches.exponent) + caches.significand - 1) / 4 : 0
    self.heads = Double(heads)
  }

  /// How many different rows `positions` name if they use all rows alike: m (1 - e^(-n / m)).
  package func expectedRows(_ positions: Double) -> Double {
    // e^-x = ((1 + x / 64)^-1)^64, within 2 % where it matters.
    var rest = 1 / (1 + positions / (64 * max(rows, 1)))
    for _ in 0..<6 { rest *= rest }
    return rows * (1 - rest)
  }
}

/// Nanoseconds of one query; of a pass that serves one head, or of one that serves up to four at once.
package struct QueryCosts: Sendable, Equatable {
  /// Finding the rows in use: per position, per pool row.
  package var markPosition = 0.0
  package var markRow = 0.0
  /// A dot product: per row, per column, and per column and distance; the last where rows do not come in
  /// their order.
  package var dotRow = 0.0
  package var dotColumn = 0.0
  package var dotFarColumn = 0.0
  package var dotStrayColumn = 0.0
  /// Putting a dot product of a row in use into the table, and reading a position's from there.
  package var spreadRow = 0.0
  package var lookUpPosition = 0.0
  /// Adding up weights: per position, and per pool row for clearing and compacting.
  package var scatterPosition = 0.0
  package var sweepRow = 0.0
  /// A weighted row: as for dot products.
  package var sumRow = 0.0
  package var sumColumn = 0.0
  package var sumFarColumn = 0.0
  package var sumStrayColumn = 0.0
  /// Whatever way is taken: per query; per position and head with a user part, and user column.
  package var query = 0.0
  package var position = 0.0
  package var ownNumber = 0.0

  func scores(_ path: ScorePath, _ positions: Double, _ pool: PoolView) -> Double {
    let column = dotColumn + dotFarColumn * pool.distance
    let row = dotRow + pool.columns * column
    switch path {
    case .gather: return positions * (row + pool.columns * pool.straying * dotStrayColumn)
    case .rowsInUse:
      return positions * (markPosition + lookUpPosition) + pool.rows * markRow
        + pool.expectedRows(positions) * (row + spreadRow)
    case .allRows: return positions * lookUpPosition + pool.rows * row
    }
  }

  func sums(_ path: SumPath, _ positions: Double, _ pool: PoolView) -> Double {
    let column = sumColumn + sumFarColumn * pool.distance
    let row = sumRow + pool.columns * column
    switch path {
    case .gather: return positions * (row + pool.columns * pool.straying * sumStrayColumn)
    case .rowSums: return positions * scatterPosition + pool.rows * sweepRow + pool.expectedRows(positions) * row
    }
  }

  func rest(_ positions: Double, ownHeads: Double, ownNumbers: Double) -> Double {
    query + positions * (ownHeads * position + ownNumbers * ownNumber)
  }
}

/// Nanoseconds of a block of queries side by side, whose heads go one after the other.
package struct BlockCosts: Sendable, Equatable {
  /// Finding the rows in use and every position's place among them: per position, per pool row.
  package var markPosition = 0.0
  package var markRow = 0.0
  /// A row's dot products with all queries of a full block, as for one query, the first per head.
  package var dotRow = 0.0
  package var dotColumn = 0.0
  package var dotFarColumn = 0.0
  package var dotStrayColumn = 0.0
  /// Adding up weights per position and head; per listed row and head: clearing, totals.
  package var scatterPosition = 0.0
  package var sweepRow = 0.0
  /// A weighted row, as for dot products.
  package var sumRow = 0.0
  package var sumColumn = 0.0
  package var sumFarColumn = 0.0
  package var sumStrayColumn = 0.0
  /// Per block, per query, per head; per position and head with a user part; per position and user column.
  package var block = 0.0
  package var query = 0.0
  package var head = 0.0
  package var position = 0.0
  package var ownNumber = 0.0

  /// - Parameter share: the tiles of a full block that the queries fill, from 0 to 1.
  func scores(_ path: ScorePath, _ positions: Double, _ pool: PoolView, share: Double) -> Double {
    let column = dotColumn * share + dotFarColumn * pool.distance
    let row = pool.heads * dotRow + pool.columns * column
    switch path {
    case .gather: return positions * (row + pool.columns * pool.straying * dotStrayColumn)
    case .rowsInUse, .allRows:
      return positions * markPosition + pool.rows * markRow + pool.expectedRows(positions) * row
    }
  }

  func sums(_ path: SumPath, _ positions: Double, _ pool: PoolView, share: Double) -> Double {
    let column = sumColumn * share + sumFarColumn * pool.distance
    let row = pool.heads * sumRow + pool.columns * column
    switch path {
    case .gather: return positions * (row + pool.columns * pool.straying * sumStrayColumn)
    case .rowSums:
      return positions * (markPosition + pool.heads * scatterPosition) + pool.rows * markRow
        + pool.expectedRows(positions) * (row + pool.heads * sweepRow)
    }
  }

  func rest(_ positions: Double, queries: Double, heads: Double, ownHeads: Double, ownNumbers: Double) -> Double {
    block + queries * query + heads * head + positions * (ownHeads * position + ownNumbers * ownNumber)
  }
}

/// The coefficients of one level of the kernels.
package struct AttentionCosts: Sendable, Equatable {
  /// A query of one head, or of a function that goes head by head.
  package var one: QueryCosts
  /// A query of several heads in groups.
  package var group: QueryCosts
  package var block: BlockCosts
  /// Queries of one tile of a block.
  package var tile: Int

  package init(one: QueryCosts, group: QueryCosts, block: BlockCosts, tile: Int) {
    self.one = one
    self.group = group
    self.block = block
    self.tile = tile
  }

  /// The share of a full block's tiles that `queries` fill.
  func share(_ queries: Int) -> Double {
    Double((queries + tile - 1) / tile * tile) / Double(QueryBlocks.size)
  }
}
