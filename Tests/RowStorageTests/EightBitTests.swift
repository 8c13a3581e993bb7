import CacheTypes
import RowStorage
import Testing

struct EightBitTests {
  static let shape = Sample.wide
  static let capacity = RowLayout(shape: shape, element: .i8, columns: []).blockCapacity(pageByteCount: 4_096)

  static func row(_ position: Int, of entries: Entries) -> LayerEntries {
    var one = Entries(zeroed: shape, count: 1)
    one.replace(from: 0, with: entries, position..<position + 1)
    return one.layers[0]
  }

  /// Whether every number is within half a step of what was stored; numbers lie between -2 and 2.
  static func isNear(_ found: Entries, _ wanted: Entries) -> Bool {
    zip(found.layers[0].keyUser + found.layers[0].valueUser, wanted.layers[0].keyUser + wanted.layers[0].valueUser)
      .allSatisfy { abs($0 - $1) <= 2.0 / 127 / 2 * 1.01 }
      && found.layers[0].keyIndices == wanted.layers[0].keyIndices
      && found.layers[0].valueIndices == wanted.layers[0].valueIndices
  }

  /// The first byte of every block of a user: its element type.
  static func elements(_ sample: SampleStore) throws -> [String] {
    try SideDatabase(sample.path).rows("SELECT substr(payload, 1, 1) FROM block ORDER BY place")
  }

  @Test func `open blocks hold f16, full ones eight bits, and vacuum seals`() throws {
    let sample = try SampleStore(Self.shape, element: .i8)
    let store = try sample.open()
    let tags = (0..<UInt32(2 * Self.capacity + 3)).map { $0 }
    try store.append(5, Array(tags[..<3]))
    try store.fold()
    #expect(try Self.elements(sample) == ["x01"])
    #expect(try store.holds(5, Array(tags[..<3])), "an open block is exact")
    try store.append(5, Array(tags[3...]))
    #expect(try Self.elements(sample) == ["x03", "x03", "x01"])
    let before = try store.read(5).entries
    #expect(Self.isNear(before, Sample.entries(tags, Self.shape)))
    #expect(before != Sample.entries(tags, Self.shape))
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try Self.elements(sample) == ["x03", "x03", "x03"])
    let after = try store.read(5).entries
    #expect(Self.isNear(after, Sample.entries(tags, Self.shape)))
    for position in 0..<2 * Self.capacity { #expect(Self.row(position, of: after) == Self.row(position, of: before)) }
    #expect(try store.problems() == [])
  }

  @Test func `a second vacuum changes no number`() throws {
    let sample = try SampleStore(Self.shape, element: .i8)
    let store = try sample.open()
    let users = (0..<40).map { UserID.integer(Int64($0)) }
    for (index, user) in users.enumerated() { try store.append(user, (0..<UInt32(index * 7 + 1)).map { $0 }) }
    _ = try store.vacuum(VacuumPlan()) { _, _ in }
    #expect(try Set(Self.elements(sample)) == ["x03"])
    let once = try users.map { try store.read($0).entries }
    // Histories in front that come and go move every page's end.
    _ = try store.delete(1)
    try store.append(0, [1, 2, 3])
    for pageByteCount in [8_192, 4_096] {
      _ = try store.vacuum(VacuumPlan(pageByteCount: pageByteCount)) { _, _ in }
      for (user, entries) in zip(users, once).dropFirst(2) { #expect(try store.read(user).entries == entries) }
    }
    #expect(try store.problems() == [])
  }

  @Test(arguments: 0..<12)
  func `no number is rounded twice, whatever comes after`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let sample = try SampleStore(Self.shape, element: .i8)
    var store = try sample.open()
    var tags: [UInt32] = []
    var settled: [Int: LayerEntries] = [:]
    for step in 0..<50 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<6:
        let run = (0..<Int.random(in: 1...Self.capacity + 4, using: &random)).map { UInt32(tags.count + $0) }
        tags += run
        try store.append(5, run)
      case 6, 7: try store.fold()
      case 8: _ = try store.vacuum(VacuumPlan()) { _, _ in }
      default:
        try store.close()
        store = try sample.open()
        let pageByteCount = [4_096, 8_192].randomElement(using: &random)!
        _ = try store.vacuum(VacuumPlan(pageByteCount: pageByteCount)) { _, _ in }
      }
      guard !tags.isEmpty else { continue }
      let found = try store.read(5).entries
      #expect(Self.isNear(found, Sample.entries(tags, Self.shape)), "seed \(seed), step \(step)")
      for position in tags.indices {
        let row = Self.row(position, of: found)
        if let known = settled[position] {
          #expect(row == known, "seed \(seed), step \(step), position \(position)")
        } else if row != Self.row(position, of: Sample.entries(tags, Self.shape)) {
          settled[position] = row
        }
      }
    }
    #expect(try store.problems() == [])
  }
}
