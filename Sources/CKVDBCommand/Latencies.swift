/// How long calls took, and what of that is told: the middle and the slow end.

/// Times of one operation, in seconds.
package struct Latencies {
  private(set) var seconds: [Double] = []

  package init(_ seconds: [Double] = []) { self.seconds = seconds }

  package var count: Int { seconds.count }
  package mutating func add(_ value: Double) { seconds.append(value) }

  /// The value below which a share of the times lie; `nil` without any.
  package func quantile(_ share: Double) -> Double? {
    let sorted = seconds.sorted()
    return sorted.isEmpty ? nil : sorted[max(0, min(sorted.count - 1, Int(Double(sorted.count) * share)))]
  }

  /// `a query: p50 3.2 us, p99 4.1 us`.
  package func text(_ what: String) -> String {
    guard let middle = quantile(0.5), let slow = quantile(0.99) else { return "no \(what)" }
    return "\(what): p50 \(NumberText.time(middle)), p99 \(NumberText.time(slow))"
  }
}

/// Seconds that a call took.
func timed(_ body: () throws -> Void) rethrows -> Double {
  let start = ContinuousClock.now
  try body()
  return NumberText.seconds(ContinuousClock.now - start)
}
