import CacheTypes
import Foundation
import RowStorage

/// Writes the fixtures of the present format version.
struct FixtureWriter {
  let name: String
  let sample: SampleStore

  init(_ name: String) throws {
    self.name = name
    switch name {
    case "f32": sample = try SampleStore(Sample.mixed, element: .f32, columns: [.items, .timestamps])
    case "f16": sample = try SampleStore(Sample.plain, element: .f16)
    case "bf16":
      let shape = ModelShape(embeddingWidth: 8, layers: Array(Sample.mixed.layers[1...2]))
      sample = try SampleStore(shape, element: .bf16, columns: [.items])
    default: sample = try SampleStore(Sample.wide, element: .f16, columns: [.timestamps])
    }
  }

  func write(to folder: String) throws {
    let store = try sample.open()
    switch name {
    case "f32":
      let users: [UserID] = [7, -7, .integer(.max), .bytes([]), .bytes([7]), .bytes(Array("anna@example.org".utf8))]
      try append(to: store, users, [1, 3, 2, 9], folding: 2)
    case "f16":
      try append(to: store, [1, 2], [60, 5, 3], folding: 1)
    case "bf16":
      try append(
        to: store, [.bytes([0]), .bytes([0, 0]), .bytes(Array(repeating: 0xFF, count: 255))], [12, 1, 4], folding: 1)
    default:
      try append(to: store, [1, 2, .bytes([1])], [5, 2], folding: 1)
      _ = try store.vacuum(VacuumPlan(element: .i8)) { _, _ in }
      try append(to: store, [1, 3], [14, 2], folding: 0)
    }
    let facts = try FixtureTests.Facts(store, side: SideDatabase(sample.path))
    let histories = try FixtureTests.histories(store)
    try store.close()

    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    var lines = [try encoder.encode(facts)]
    for history in histories { lines.append(try encoder.encode(history)) }
    var text = Data()
    for line in lines { text += line + Data("\n".utf8) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try text.write(to: URL(fileURLWithPath: "\(folder)/expected.jsonl"))
    try Data(sample.folder.bytes(of: "users.sqlite")).write(to: URL(fileURLWithPath: "\(folder)/users.sqlite"))
  }

  /// Appends runs of these lengths to every user; folds after the round `folding`.
  private func append(to store: RowStore, _ users: [UserID], _ counts: [Int], folding round: Int) throws {
    var tag: UInt32 = 0
    for (number, count) in counts.enumerated() {
      for user in users {
        try store.append(user, (0..<UInt32(count)).map { tag + $0 })
        tag += UInt32(count)
      }
      if number == round { try store.fold() }
    }
  }
}
