/// How the grid's times grow along each axis: a straight line and the steepness between the ends for every one, and one
/// model for positions and pool rows together, which is how the work is made up.

import Glibc

extension AttendGridBenchmark {
  static func reportGrowth(_ report: Report, _ options: Options) {
    let kinds = ["ckvdb", "ckvdb with a CandidateSet"]
    for (count, kind) in centreCounts.flatMap({ count in kinds.map { (count, $0) } }) {
      let label = "C = \(count), \(kind)"
      fit("n, \(label)", "position", lengths(options).map { (Double($0), Shape(length: $0)) }, count, kind, report)
      fit("m, \(label)", "pool row", pools(options).map { (Double($0), Shape(poolRows: $0)) }, count, kind, report)
      fit("d, \(label)", "number of a key", widths.map { (Double($0), Shape(width: $0)) }, count, kind, report)
      fitBoth(label, count, kind, report, options)
    }
    for kind in kinds {
      let points = counts(options).compactMap { count in
        report.value(name(centre, count, kind)).map { (x: Double(count), time: $0) }
      }
      fit("C, \(kind)", "query", points, report)
    }
  }

  private static func fit(
    _ axis: String, _ unit: String, _ shapes: [(x: Double, shape: Shape)], _ count: Int, _ kind: String,
    _ report: Report
  ) {
    let points = shapes.compactMap { place in
      report.value(name(place.shape, count, kind)).map { (x: place.x, time: $0) }
    }
    fit(axis, unit, points, report)
  }

  private static func fit(_ axis: String, _ unit: String, _ points: [(x: Double, time: Double)], _ report: Report) {
    guard let slope = Growth.slope(points), let line = Growth(points.map { ([1, $0.x], $0.time) }) else { return }
    report.measured("growth in \(axis): fixed", line.factors[0], "us")
    report.measured("growth in \(axis): per \(unit)", line.factors[1] * 1_000, "ns")
    report.measured("growth in \(axis): largest error of that line", line.error * 100, "%")
    report.measured("growth in \(axis): log-log slope between the ends", slope, "ratio")
  }

  /// Over all lengths, and all pools up to the centre's: rows of larger ones come from further away.
  private static func fitBoth(
    _ label: String, _ count: Int, _ kind: String, _ report: Report, _ options: Options
  ) {
    let small = pools(options).filter { $0 < centre.poolRows }
    let points = (lengths(options).map { Shape(length: $0) } + small.map { Shape(poolRows: $0) }).compactMap { shape in
      report.value(name(shape, count, kind)).map { ([1, Double(shape.length), rowsInUse(shape)], $0) }
    }
    guard let model = Growth(points) else { return }
    let axis = "growth in n and rows in use, \(label)"
    report.measured("\(axis): fixed", model.factors[0], "us")
    report.measured("\(axis): per position", model.factors[1] * 1_000, "ns")
    report.measured("\(axis): per row in use", model.factors[2] * 1_000, "ns")
    report.measured("\(axis): largest error of that model", model.error * 100, "%")
  }

  /// How many pool rows positions name that are drawn uniformly.
  private static func rowsInUse(_ shape: Shape) -> Double {
    Double(shape.poolRows) * (1 - pow(1 - 1 / Double(shape.poolRows), Double(shape.length)))
  }
}
