/// What the processes of the stress agree on: users, what their rows say, what is acknowledged where, and how a reader
/// tells a right answer from a wrong one.
///
/// Users 0, 1, 2, 3, ... are pairs: every batch appends to both of a pair. A row's item says which writer wrote it, in
/// which of its batches for that pair, and its place in the batch; its timestamp the position, where the writer stated
/// one. Users from 1000 on belong to one process, which deletes them again and again: their items say the life and
/// the position.

import CollectiveKV
import Foundation

struct StressPlan: Sendable {
  static let pairCount = 6
  static let mortalCount = 4
  static let firstMortal = 1_000
  /// Writers that may have lived in the end: a killed one's successor is another one.
  static let writerLimit = 100_000

  static let model = TestModel(
    TestModel.shape([LayerShape(key: TestModel.part(1, 3, 16), value: TestModel.part(1, 4, 16), heads: 1)]))

  let cells: SharedCells

  private static let firstLife = 32
  private static let firstAck = firstLife + 3 * mortalCount

  init(_ path: String) throws {
    cells = try SharedCells(path: path, count: Self.firstAck + Self.writerLimit * Self.pairCount)
  }

  // MARK: What is shared

  /// Whether everybody shall end.
  var isOver: Bool {
    get { cells[0] != 0 }
    nonmutating set { cells[0] = newValue ? 1 : 0 }
  }

  /// Writers so far: the greatest number in use plus one.
  var writerCount: Int {
    get { cells[1] }
    nonmutating set { cells[1] = newValue }
  }

  /// The newest batch of a writer for a pair whose append has returned; batches count from 1.
  func acknowledged(_ writer: Int, _ pair: Int) -> Int { cells[Self.ackPlace(writer, pair)] }

  func acknowledge(_ writer: Int, _ pair: Int, _ batch: Int) { cells[Self.ackPlace(writer, pair)] = batch }

  private static func ackPlace(_ writer: Int, _ pair: Int) -> Int {
    firstAck + writer * pairCount + pair
  }

  /// A mortal user's present life, from 1; how many positions of it are acknowledged; the life whose end has begun.
  struct Life: Equatable {
    var number: Int
    var length: Int
    var ending: Int
  }

  /// Only the owner changes a life, so a reader that sees the same number before and after has read one life.
  func life(_ mortal: Int) -> Life {
    let place = Self.firstLife + 3 * mortal
    while true {
      let number = cells[place]
      let life = Life(number: number, length: cells[place + 1], ending: cells[place + 2])
      if cells[place] == number { return life }
    }
  }

  func setLength(_ mortal: Int, _ length: Int) { cells[Self.firstLife + 3 * mortal + 1] = length }
  func beginEnd(_ mortal: Int) { cells[Self.firstLife + 3 * mortal + 2] = cells[Self.firstLife + 3 * mortal] }
  func beginLife(_ mortal: Int) {
    cells[Self.firstLife + 3 * mortal + 1] = 0
    cells[Self.firstLife + 3 * mortal] += 1
  }

  // MARK: Rows

  struct Mark: Equatable {
    var writer: Int
    var batch: Int
    var place: Int
    var count: Int

    var item: Int64 { Int64(writer) << 44 | Int64(batch) << 20 | Int64(place) << 10 | Int64(count) }

    init(writer: Int, batch: Int, place: Int, count: Int) {
      (self.writer, self.batch, self.place, self.count) = (writer, batch, place, count)
    }

    init(_ item: Int64) {
      (writer, batch) = (Int(item >> 44), Int(item >> 20) & 0xFF_FFFF)
      (place, count) = (Int(item >> 10) & 0x3FF, Int(item) & 0x3FF)
    }
  }

  /// Rows of one user; every number says whose they are.
  static func entries(_ user: Int, items: [Int64], timestamps: [Int64]) -> Entries {
    let count = items.count
    let layer = LayerEntries(
      keyIndices: (0..<count).map { UInt32($0 % 16) }, valueIndices: items.map { UInt32(truncatingIfNeeded: $0) % 16 },
      keyUser: Array(repeating: Float(user), count: count), valueUser: Array(repeating: -Float(user), count: count))
    return Entries(count: count, layers: [layer], items: items, timestamps: timestamps)
  }

  /// What is wrong with entries that any user may have.
  private static func fault(_ user: Int, _ entries: Entries) -> String? {
    guard let items = entries.items, let timestamps = entries.timestamps else { return "columns are missing" }
    let layer = entries.layers[0]
    guard layer.keyUser.allSatisfy({ $0 == Float(user) }), layer.valueUser.allSatisfy({ $0 == -Float(user) }) else {
      return "numbers of another user"
    }
    guard zip(items, layer.valueIndices).allSatisfy({ UInt32(truncatingIfNeeded: $0) % 16 == $1 }) else {
      return "items and indices do not belong together"
    }
    for (position, timestamp) in timestamps.enumerated() where timestamp != -1 && timestamp != Int64(position) {
      return "position \(position) holds a row for position \(timestamp)"
    }
    return nil
  }

  // MARK: Reading

  /// The newest batch of every writer in a whole history of a pair's user, or what is wrong with it.
  static func batches(_ user: Int, _ entries: Entries) -> Result<[Int: Int], StressFault> {
    if let fault = fault(user, entries) { return .failure(StressFault(fault)) }
    var newest: [Int: Int] = [:]
    var open: Mark?
    for item in entries.items! {
      let mark = Mark(item)
      if let last = open {
        guard mark == Mark(writer: last.writer, batch: last.batch, place: last.place + 1, count: last.count) else {
          return .failure(StressFault("\(mark) after \(last)"))
        }
      } else {
        guard mark.place == 0, mark.batch == newest[mark.writer, default: 0] + 1 else {
          return .failure(StressFault("\(mark) after batch \(newest[mark.writer, default: 0])"))
        }
        newest[mark.writer] = mark.batch
      }
      open = mark.place + 1 == mark.count ? nil : mark
    }
    if let open { return .failure(StressFault("the history ends within a batch: \(open)")) }
    return .success(newest)
  }

  /// Every writer's newest acknowledged batch for a pair.
  func acknowledgements(_ pair: Int) -> [Int] { (0..<writerCount).map { acknowledged($0, pair) } }

  /// What is wrong with a pair's history, given what was acknowledged before it was read.
  static func fault(_ newest: [Int: Int], _ acknowledged: [Int]) -> String? {
    for (writer, batch) in acknowledged.enumerated() where newest[writer, default: 0] < batch {
      return "batch \(newest[writer, default: 0]) is the newest of writer \(writer), \(batch) was acknowledged"
    }
    return nil
  }

  /// What is wrong with a mortal user's entries (`nil`: unknown), given its lives before and after they were read.
  static func fault(_ user: Int, _ entries: Entries?, _ before: Life, _ after: Life) -> String? {
    guard let entries else {
      let mayBeGone =
        before.length == 0 || before.ending == before.number || after != before && after.ending >= before.number
      return mayBeGone ? nil : "\(before) is unknown"
    }
    if let fault = fault(user, entries) { return fault }
    let items = entries.items!
    let life = Int(items[0] >> 32)
    guard life >= before.number, life <= after.number else { return "rows of life \(life), \(before) to \(after)" }
    guard life > before.number || items.count >= before.length else { return "\(items.count) positions of \(before)" }
    for (position, item) in items.enumerated() where item != Int64(life) << 32 | Int64(position) {
      return "position \(position) holds \(item >> 32), \(item & 0xFFFF_FFFF)"
    }
    return nil
  }
}

struct StressFault: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
