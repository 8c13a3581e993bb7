/// Linear models of measured times, and how steep times are where both scales are logarithmic. Knows nothing of what
/// was measured.

import Glibc

/// time = sum of factor k x term k, with the least sum of squared relative errors: a microsecond too much counts for as
/// much at the shortest time as thousands at a time thousands as long.
package struct Growth {
  package let factors: [Double]
  /// The largest relative error of the model.
  package let error: Double

  /// A measured time and the terms that it is made of, such as 1 and a length.
  package typealias Point = (terms: [Double], time: Double)

  /// - Returns: `nil` if the points do not tell the terms apart.
  package init?(_ points: [Point]) {
    guard let count = points.first?.terms.count, points.count >= count else { return nil }
    // Every equation is divided by its time. The normal equations, with the right side as the last column.
    var rows = [[Double]](repeating: [Double](repeating: 0, count: count + 1), count: count)
    for point in points {
      let scaled = point.terms.map { $0 / point.time } + [1]
      for row in 0..<count {
        for column in 0...count { rows[row][column] += scaled[row] * scaled[column] }
      }
    }
    for place in 0..<count {
      let pivot = rows[place][place]
      // A positive semidefinite matrix's own diagonal is the best pivot.
      guard pivot > 0 else { return nil }
      rows[place] = rows[place].map { $0 / pivot }
      for row in 0..<count where row != place {
        let factor = rows[row][place]
        for column in 0...count { rows[row][column] -= factor * rows[place][column] }
      }
    }
    let factors = rows.map { $0[count] }
    self.factors = factors
    error =
      points.map { point in abs(zip(factors, point.terms).reduce(0) { $0 + $1.0 * $1.1 } / point.time - 1) }.max() ?? 0
  }

  /// log(last time / first time) / log(last x / first x): 0 is constant, 1 proportional.
  package static func slope(_ points: [(x: Double, time: Double)]) -> Double? {
    guard let first = points.first, let last = points.last, first.x != last.x else { return nil }
    return log(last.time / first.time) / log(last.x / first.x)
  }
}
