/// Straight lines through measured times, and how steep they are where both scales are logarithmic. Knows nothing of
/// what was measured.

import Glibc

/// time = fixed + perUnit x, the line with the least sum of squared relative errors: a microsecond too much counts for
/// as much at the shortest time as thousands at a time thousands as long.
struct Growth {
  var fixed: Double
  var perUnit: Double
  /// The largest relative error of the line.
  var error: Double
  /// log(last time / first time) / log(last x / first x): 0 is constant, 1 proportional.
  var slope: Double

  /// - Returns: `nil` for fewer than two different places.
  init?(_ points: [(x: Double, time: Double)]) {
    guard points.count > 1, let first = points.first, let last = points.last, first.x != last.x else { return nil }
    // Every equation is divided by its time: fixed / t + perUnit x / t = 1.
    var (oneOne, oneX, xx, one, x) = (0.0, 0.0, 0.0, 0.0, 0.0)
    for point in points {
      let (a, b) = (1 / point.time, point.x / point.time)
      oneOne += a * a
      oneX += a * b
      xx += b * b
      one += a
      x += b
    }
    let determinant = oneOne * xx - oneX * oneX
    fixed = (one * xx - x * oneX) / determinant
    perUnit = (oneOne * x - oneX * one) / determinant
    slope = log(last.time / first.time) / log(last.x / first.x)
    let line = (fixed, perUnit)
    error = points.map { abs((line.0 + line.1 * $0.x) / $0.time - 1) }.max() ?? 0
  }
}
