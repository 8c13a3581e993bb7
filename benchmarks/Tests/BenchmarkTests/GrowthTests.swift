/// Fits of times that are known, and the loops that peaks come from, held against what they say they compute.

import BenchmarkCommand
import CPeaks
import Testing

struct GrowthTests {
  private static let lengths = [100.0, 1_000, 10_000, 100_000]

  private static func isNear(_ value: Double, _ wanted: Double) -> Bool { abs(value - wanted) <= 1e-6 * abs(wanted) }

  @Test func `a line through times of a line is that line`() throws {
    let growth = try #require(Growth(Self.lengths.map { ([1, $0], 5 + 0.003 * $0) }))
    #expect(Self.isNear(growth.factors[0], 5) && Self.isNear(growth.factors[1], 0.003))
    #expect(growth.error < 1e-9)
  }

  @Test func `three terms are told apart`() throws {
    let points = Self.lengths.map { ([1, $0, min($0, 1_024)], 3 + 0.002 * $0 + 0.01 * min($0, 1_024)) }
    let growth = try #require(Growth(points))
    #expect(zip(growth.factors, [3, 0.002, 0.01]).allSatisfy { Self.isNear($0, $1) }, "\(growth.factors)")
  }

  @Test func `no other constant has a smaller sum of squared relative errors`() throws {
    let times = [1.0, 2, 4, 300]
    let growth = try #require(Growth(times.map { ([1], $0) }))
    func loss(_ value: Double) -> Double { times.reduce(0) { $0 + (value / $1 - 1) * (value / $1 - 1) } }
    for factor in [0.99, 0.999, 1.001, 1.01] { #expect(loss(growth.factors[0]) < loss(growth.factors[0] * factor)) }
    #expect(Self.isNear(growth.error, times.map { abs(growth.factors[0] / $0 - 1) }.max() ?? 0))
  }

  @Test func `terms that points do not tell apart give no model`() {
    #expect(Growth([([1, 1], 2), ([1, 1], 2)]) == nil)
    #expect(Growth([([1, 1], 2)]) == nil)
    #expect(Growth([]) == nil)
  }

  @Test func `the slope of a power is its exponent`() throws {
    let slope = try #require(Growth.slope(Self.lengths.map { (x: $0, time: 3 * $0 * $0) }))
    #expect(Self.isNear(slope, 2))
    #expect(Growth.slope([(x: 1, time: 2)]) == nil)
  }

  @Test func `lookups and updates reach every place`() {
    let places: [UInt32] = [3, 0, 2, 1, 7, 4, 6, 5]
    var table: [UInt32] = [1, 2, 3, 4, 5, 6, 7, 8]
    #expect(peak_look_up(table, places, 8, 3) == 3 * 36)
    _ = peak_update(&table, places, 8, 2)
    #expect(table == [3, 4, 5, 6, 7, 8, 9, 10])
  }
}
