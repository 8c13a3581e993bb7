/// What a dump writes and how: the columns that were asked for, pieces of histories, and the text formats. Every format
/// prints the same numbers under the same names; a float's text is the shortest that reads back as the same float.

package import CacheTypes
package import CollectiveKV

/// The columns that a dump has.
package struct DumpColumns: Sendable {
  package var shape: ModelShape
  /// The layers that are shown, in order.
  package var layers: [Int]
  package var hasItems: Bool
  package var hasTimestamps: Bool
  /// Whether full keys and values are shown.
  package var isFull: Bool

  package init(shape: ModelShape, layers: [Int], hasItems: Bool, hasTimestamps: Bool, isFull: Bool) {
    self.shape = shape
    self.layers = layers
    self.hasItems = hasItems
    self.hasTimestamps = hasTimestamps
    self.isFull = isFull
  }
}

/// Some positions of one user, one after the other.
package struct DumpPiece {
  package var user: UserID
  package var firstPosition: Int
  package var entries: Entries
  /// One per shown layer if full keys and values are shown, else empty.
  package var full: [FullKV]

  package init(user: UserID, firstPosition: Int, entries: Entries, full: [FullKV]) {
    self.user = user
    self.firstPosition = firstPosition
    self.entries = entries
    self.full = full
  }

  /// One row of columns that are kept dimension by dimension.
  func userPart(_ numbers: [Float], _ row: Int) -> [Float] {
    stride(from: row, to: numbers.count, by: max(entries.count, 1)).map { numbers[$0] }
  }

  /// One row of a row-major matrix.
  func row(_ numbers: [Float], width: Int, _ row: Int) -> ArraySlice<Float> {
    numbers[row * width..<(row + 1) * width]
  }
}

/// A format. `write` is called for pieces in order, after `beginUser` of their user.
package protocol DumpSink: AnyObject {
  var columns: DumpColumns { get }
  func begin() throws
  func beginUser(_ user: UserID, length: Int, positions: Range<Int>) throws
  func write(_ piece: DumpPiece) throws
  func finish() throws
}

/// For people: a heading per user, a line per position and layer.
package final class TextDump: DumpSink {
  package let columns: DumpColumns
  private let output: Output

  package init(_ columns: DumpColumns, _ output: Output) {
    self.columns = columns
    self.output = output
  }

  package func begin() {}

  package func beginUser(_ user: UserID, length: Int, positions: Range<Int>) throws {
    try output.write("user \(user), \(NumberText.count(length, "position"))\n")
  }

  package func write(_ piece: DumpPiece) throws {
    for row in 0..<piece.entries.count {
      var lead = "  \(piece.firstPosition + row)"
      if let items = piece.entries.items { lead += "  item \(items[row])" }
      if let timestamps = piece.entries.timestamps { lead += "  timestamp \(timestamps[row])" }
      let hasOneLayer = columns.shape.layers.count == 1
      try output.write(lead + (hasOneLayer ? "" : "\n"))
      for (place, layer) in columns.layers.enumerated() {
        try output.write(hasOneLayer ? "" : "    layer \(layer)")
        try write(piece, place, layer, row)
      }
    }
  }

  package func finish() throws { try output.finish() }

  private func write(_ piece: DumpPiece, _ place: Int, _ layer: Int, _ row: Int) throws {
    let entries = piece.entries.layers[layer]
    var line = "  I_k \(entries.keyIndices[row])"
    if !entries.valueIndices.isEmpty { line += "  I_v \(entries.valueIndices[row])" }
    if !entries.keyUser.isEmpty { line += "  u_k \(Self.list(piece.userPart(entries.keyUser, row)))" }
    if !entries.valueUser.isEmpty { line += "  u_v \(Self.list(piece.userPart(entries.valueUser, row)))" }
    try output.write(line + "\n")
    guard columns.isFull else { return }
    let full = piece.full[place]
    try output.write("      K \(Self.list(piece.row(full.keys, width: full.keyWidth, row)))\n")
    if full.valueWidth > 0 {
      try output.write("      V \(Self.list(piece.row(full.values, width: full.valueWidth, row)))\n")
    }
  }

  private static func list(_ numbers: some Sequence<Float>) -> String {
    numbers.map(\.description).joined(separator: " ")
  }
}

/// For programs: one JSON object per position.
package final class JSONLinesDump: DumpSink {
  package let columns: DumpColumns
  private let output: Output

  package init(_ columns: DumpColumns, _ output: Output) {
    self.columns = columns
    self.output = output
  }

  package func begin() {}
  package func beginUser(_ user: UserID, length: Int, positions: Range<Int>) {}

  package func write(_ piece: DumpPiece) throws {
    let user = JSONText.user(piece.user)
    for row in 0..<piece.entries.count {
      var members = [("user", user), ("position", String(piece.firstPosition + row))]
      if let items = piece.entries.items { members.append(("item", String(items[row]))) }
      if let timestamps = piece.entries.timestamps { members.append(("timestamp", String(timestamps[row]))) }
      let layers = columns.layers.enumerated().map { place, layer in self.layer(piece, place, layer, row) }
      members.append(("layers", JSONText.array(layers)))
      try output.write(JSONText.object(members) + "\n")
    }
  }

  package func finish() throws { try output.finish() }

  private func layer(_ piece: DumpPiece, _ place: Int, _ layer: Int, _ row: Int) -> String {
    let entries = piece.entries.layers[layer]
    var members = [("layer", String(layer)), ("key_index", String(entries.keyIndices[row]))]
    if !entries.valueIndices.isEmpty { members.append(("value_index", String(entries.valueIndices[row]))) }
    members.append(("key_user", Self.list(piece.userPart(entries.keyUser, row))))
    if columns.shape.layers[layer].value != nil {
      members.append(("value_user", Self.list(piece.userPart(entries.valueUser, row))))
    }
    if columns.isFull {
      let full = piece.full[place]
      members.append(("K", Self.list(piece.row(full.keys, width: full.keyWidth, row))))
      if full.valueWidth > 0 { members.append(("V", Self.list(piece.row(full.values, width: full.valueWidth, row)))) }
    }
    return JSONText.object(members)
  }

  private static func list(_ numbers: some Sequence<Float>) -> String { JSONText.array(numbers.map(\.description)) }
}

/// For tables: one line per position, one column per number, under a head line.
package final class CSVDump: DumpSink {
  package let columns: DumpColumns
  private let output: Output

  package init(_ columns: DumpColumns, _ output: Output) {
    self.columns = columns
    self.output = output
  }

  package func begin() throws {
    var names = ["user", "position"]
    if columns.hasItems { names.append("item") }
    if columns.hasTimestamps { names.append("timestamp") }
    for layer in columns.layers {
      let shape = columns.shape.layers[layer]
      names.append("layers.\(layer).key.index")
      if shape.storesValueIndices { names.append("layers.\(layer).value.index") }
      names += (0..<shape.key.userWidth).map { "layers.\(layer).key.user.\($0)" }
      names += (0..<(shape.value?.userWidth ?? 0)).map { "layers.\(layer).value.user.\($0)" }
      guard columns.isFull else { continue }
      names += (0..<shape.key.width).map { "layers.\(layer).K.\($0)" }
      names += (0..<(shape.value?.width ?? 0)).map { "layers.\(layer).V.\($0)" }
    }
    try output.write(names.joined(separator: ",") + "\n")
  }

  package func beginUser(_ user: UserID, length: Int, positions: Range<Int>) {}

  package func write(_ piece: DumpPiece) throws {
    for row in 0..<piece.entries.count {
      try output.write("\(piece.user),\(piece.firstPosition + row)")
      if let items = piece.entries.items { try output.write(",\(items[row])") }
      if let timestamps = piece.entries.timestamps { try output.write(",\(timestamps[row])") }
      for (place, layer) in columns.layers.enumerated() {
        let entries = piece.entries.layers[layer]
        try output.write(",\(entries.keyIndices[row])")
        if !entries.valueIndices.isEmpty { try output.write(",\(entries.valueIndices[row])") }
        try write(piece.userPart(entries.keyUser, row))
        try write(piece.userPart(entries.valueUser, row))
        guard columns.isFull else { continue }
        let full = piece.full[place]
        try write(piece.row(full.keys, width: full.keyWidth, row))
        if full.valueWidth > 0 { try write(piece.row(full.values, width: full.valueWidth, row)) }
      }
      try output.write("\n")
    }
  }

  package func finish() throws { try output.finish() }

  private func write(_ numbers: some Sequence<Float>) throws {
    for number in numbers { try output.write(",\(number)") }
  }
}
