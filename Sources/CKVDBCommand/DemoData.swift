/// Made-up data for the demonstration: a small model with random weights, and a stream of events that looks like a
/// shop's: few users buy much and many buy little, few items sell often, purchases come in sessions around a user's
/// favourite kinds of items.

internal import CacheTypes
internal import Glibc

/// A small model: one layer, two heads, K and V of 64 numbers.
package enum DemoModel {
  package static let itemCount = 2_000
  static let kindCount = 40
  private static let embeddingWidth = 32
  private static let userWidth = 2
  private static let poolWidth = 62
  private static let poolRows = 256

  /// Writes a model file; the same seed gives the same bytes.
  package static func write(to path: String, seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let items = items(&random)
    let model = RandomModel(
      embeddingWidth: embeddingWidth, userWidth: userWidth, poolWidth: poolWidth, poolRows: poolRows, heads: 2)
    try model.write(to: path, items: items, &random)
  }

  /// Items of one kind lie near one another.
  private static func items(_ random: inout SplitMix64) -> [Float] {
    let centres = (0..<kindCount).map { _ in random.normals(embeddingWidth) }
    return (0..<itemCount).flatMap { item in
      let centre = centres[item % kindCount]
      return centre.map { $0 + Float(random.normal() * 0.5) }
    }
  }
}

/// A stream of made-up events, in the order of time.
package enum DemoEvents {
  private static let startTime = 1_735_689_600.0
  private static let dayCount = 60
  private static let daySeconds = 86_400.0

  package static func make(users userCount: Int, events eventCount: Int, seed: UInt64) -> [Event] {
    var random = SplitMix64(seed: seed ^ 0xE7E7_E7E7)
    let activity = WeightedChoice((0..<userCount).map { _ in exp(1.3 * random.normal()) })
    let kinds = WeightedChoice.zipf(DemoModel.kindCount, exponent: 0.8)
    let itemsOfKind = WeightedChoice.zipf(DemoModel.itemCount / DemoModel.kindCount, exponent: 1.05)
    let favourites = (0..<userCount).map { _ in (0..<3).map { _ in kinds.draw(&random) } }
    var events: [Event] = []
    events.reserveCapacity(eventCount)
    while events.count < eventCount {
      let user = activity.draw(&random)
      // Around noon and early evening, on any day.
      let hour = (random.unit() + random.unit()) / 2
      var time = startTime + (Double(random.index(dayCount)) + hour) * daySeconds
      let length = 1 + Int(random.exponential(mean: 7))
      for _ in 0..<min(length, eventCount - events.count) {
        let kind = random.unit() < 0.8 ? favourites[user][random.index(3)] : kinds.draw(&random)
        let item = itemsOfKind.draw(&random) * DemoModel.kindCount + kind
        events.append(Event(user: .integer(Int64(user + 1)), item: Int64(item), timestamp: Int64(time)))
        time += 5 + random.exponential(mean: 90)
      }
    }
    return events.sorted { ($0.timestamp ?? 0, $0.user) < ($1.timestamp ?? 0, $1.user) }
  }

  /// Writes events in the form that `append --events` takes.
  package static func write(_ events: [Event], to path: String) throws {
    let output = try Output(path: path)
    try output.write("# user\titem\ttimestamp\n")
    for event in events { try output.write("\(event.user)\t\(event.item)\t\(event.timestamp ?? 0)\n") }
    try output.finish()
  }
}
