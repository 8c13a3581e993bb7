/// Measures several operations by turns, so that whatever else the machine does meets all of them alike. It knows
/// nothing of what they do.

/// One thing that is measured again and again.
struct BenchOperation {
  let name: String
  /// Does it once and says how many seconds that took, preparations left out.
  let run: () throws -> Double
}

enum BenchClock {
  /// What one operation may take of a round, where one call takes less.
  private static let turnSeconds = 0.01
  private static let turnCallLimit = 64
  private static let leastRoundCount = 3

  /// Runs the operations round after round for so many seconds, but at least three rounds beside the first, which does
  /// not count.
  ///
  /// - Parameter progress: called after every turn with the calls that were timed and the share that is done.
  static func measure(
    _ operations: [BenchOperation], seconds: Double, progress: (Int, Double) -> Void
  ) throws -> [Latencies] {
    var latencies = operations.map { _ in Latencies() }
    var turns = try operations.map { operation in
      try Interruption.check()
      let once = max(try operation.run(), 1e-7)
      return max(1, min(turnCallLimit, Int(turnSeconds / once)))
    }
    let start = ContinuousClock.now
    var (round, count, elapsed) = (0, 0, 0.0)
    while round < leastRoundCount || elapsed < seconds {
      for (number, operation) in operations.enumerated() {
        var spent = 0.0
        for _ in 0..<turns[number] {
          try Interruption.check()
          let time = try operation.run()
          latencies[number].add(time)
          spent += time
        }
        count += turns[number]
        // The first call may have been a slow one.
        let mean = max(spent / Double(turns[number]), 1e-7)
        turns[number] = max(1, min(turnCallLimit, Int(turnSeconds / mean)))
        elapsed = NumberText.seconds(ContinuousClock.now - start)
        progress(count, min(elapsed / seconds, 1))
      }
      round += 1
    }
    return latencies
  }
}
