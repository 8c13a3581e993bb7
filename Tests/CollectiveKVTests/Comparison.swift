/// How answers are compared: bit for bit, or within a share of the largest number. A comparison returns what differs,
/// for the test's message, or `nil`.

import CollectiveKV
import Testing

/// Records a difference, should there be one, as the test's issue.
func expectSame(
  _ difference: String?, _ place: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  if let difference { Issue.record("\(place()): \(difference)", sourceLocation: sourceLocation) }
}

/// The first number whose bits differ.
func difference(_ seen: [Float], _ expected: [Float]) -> String? {
  guard seen.count == expected.count else { return "\(seen.count) numbers, expected \(expected.count)" }
  for place in seen.indices where seen[place].bitPattern != expected[place].bitPattern {
    return "number \(place) is \(seen[place]), expected \(expected[place])"
  }
  return nil
}

/// The first number that is further away than `share` of the largest expected one.
func difference(_ seen: [Float], _ expected: [Double], within share: Double) -> String? {
  guard seen.count == expected.count else { return "\(seen.count) numbers, expected \(expected.count)" }
  let tolerance = share * (expected.map(\.magnitude).max() ?? 0)
  for place in seen.indices where !((Double(seen[place]) - expected[place]).magnitude <= tolerance) {
    return "number \(place) is \(seen[place]), expected \(expected[place])"
  }
  return nil
}

/// Full keys and values against the reference's, bit for bit.
func difference(_ seen: FullKV, _ expected: ReferenceKV, from first: Int = 0) -> String? {
  let positions = first..<first + expected.keys.count
  guard seen.positions == positions else { return "positions \(seen.positions), expected \(positions)" }
  return difference(seen.keys, expected.keys.joined().map { Float($0) }).map { "keys: \($0)" }
    ?? difference(seen.values, expected.values.joined().map { Float($0) }).map { "values: \($0)" }
}

/// Everything that a store returns about a user against what the reference keeps, bit for bit: entries with their
/// optional columns, and full keys and values of every layer.
func difference(
  _ store: CacheStore, _ user: UserID, _ expected: [Kept], _ reference: Reference
) throws -> String? {
  let entries = try store.entries(of: user)
  guard entries.count == expected.count else { return "\(entries.count) positions, expected \(expected.count)" }
  if try store.length(of: user) != expected.count { return "length \(try store.length(of: user))" }
  if store.keepsItems, entries.items != expected.map(\.item) { return "items \(entries.items ?? [])" }
  if store.keepsTimestamps, entries.timestamps != expected.map(\.timestamp) { return "timestamps differ" }
  if !store.keepsItems, entries.items != nil { return "items that are not kept" }
  for number in reference.model.shape.layers.indices {
    let seen = try store.reconstruct(user: user, layer: number)
    if let found = difference(seen, reference.full(expected, layer: number)) { return "layer \(number): \(found)" }
  }
  return nil
}
