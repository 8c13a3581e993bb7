/// `ckvdb dump`: shows what is stored, from one snapshot of a store that others may go on using. It opens the store for
/// reading only, and writes position by position: the store need not fit in memory.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Dump: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a store keeps of its users.",
    discussion: """
      For every position: the pool indices I_k and I_v, the user parts u_k and u_v,
      the item and the timestamp where they are kept; with --reconstruct the full K
      and V. Numbers are written so that they read back exactly. I_v is left out
      where values use the keys' indices. The store may be in use; no byte of its
      files changes.

      text and jsonl are for people and programs, a position at a time; csv has one
      line per position under a head line. safetensors needs --output: it is the
      form that `ckvdb append --input` takes, or with --reconstruct the tensors
      key.<user> and value.<user>, [n, d_k] and [n, d_v] f32, of one layer.

      Positions: 3..<10, 3...9, 3..., ..<10, or 3.

        ckvdb dump shop.ckv --user 42
        ckvdb dump shop.ckv --user 42 --positions 0..<5 --reconstruct
        ckvdb dump shop.ckv --format csv | head
        ckvdb dump shop.ckv --format safetensors --output history.safetensors
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable {
    case text, jsonl, csv, safetensors
  }

  @OptionGroup var store: StoreArgument

  @OptionGroup var rollback: RollbackArgument

  @Option(help: ArgumentHelp("Only this user: an integer, or bytes as x'0a1b'.", valueName: "user"))
  var user: UserID?

  @Option(help: ArgumentHelp("Only these positions of each user.", valueName: "range"))
  var positions: PositionRange?

  @Option(help: ArgumentHelp("Only this layer (default: all).", valueName: "layer"))
  var layer: Int?

  @Option(help: "How it is written.")
  var format: Format = .text

  @Flag(help: "Also show the full keys and values.")
  var reconstruct = false

  @Option(help: ArgumentHelp("Write to this file instead of standard output.", valueName: "file"), completion: .file())
  var output: String?

  func validate() throws {
    if let layer, layer < 0 { throw ValidationError("--layer is \(layer), expected 0 or more.") }
    if format == .safetensors, output == nil || output == "-" {
      throw ValidationError("--format safetensors needs --output FILE.")
    }
  }

  func run() throws {
    try store.open(.readOnly, rollback) { store in
      if let layer { _ = try store.model.shape.layer(layer) }
      let layers = layer.map { [$0] } ?? Array(store.model.shape.layers.indices)
      if format == .safetensors, reconstruct, layers.count != 1 {
        throw ValidationError("--format safetensors --reconstruct writes one layer: choose it with --layer.")
      }
      let columns = DumpColumns(
        shape: store.model.shape, layers: layers, hasItems: store.keepsItems, hasTimestamps: store.keepsTimestamps,
        isFull: reconstruct)
      try dump(store, to: try sink(columns))
    }
  }

  private func sink(_ columns: DumpColumns) throws -> any DumpSink {
    switch format {
    case .text: TextDump(columns, try Output(path: output))
    case .jsonl: JSONLinesDump(columns, try Output(path: output))
    case .csv: CSVDump(columns, try Output(path: output))
    case .safetensors:
      reconstruct ? try FullTensorDump(columns, path: output ?? "") : try TensorDump(columns, path: output ?? "")
    }
  }

  private func dump(_ store: CacheStore, to sink: any DumpSink) throws {
    var isFound = false
    try sink.begin()
    try store.forEachHistory(user: user, positions: positions?.range) { history in
      isFound = true
      guard !history.isStale else {
        let count = NumberText.count(history.length, "position")
        ErrorText.complain("\(self.store.path): user \(history.user) is stale, \(count) of another model left out")
        return
      }
      try sink.beginUser(history.user, length: history.length, positions: history.positions)
      // In pieces: the full keys and values of a long history would take hundreds of times its entries.
      let pieceCount = 1_024
      var first = 0
      while first < history.entries.count {
        let end = min(first + pieceCount, history.entries.count)
        let entries = history.entries.piece(first..<end)
        let full = sink.columns.isFull ? try sink.columns.layers.map { try store.reconstruct(entries, layer: $0) } : []
        let position = history.positions.lowerBound + first
        try sink.write(DumpPiece(user: history.user, firstPosition: position, entries: entries, full: full))
        first = end
      }
    }
    if let user, !isFound { throw StoreError.unknownUser(user) }
    try sink.finish()
  }
}

extension Entries {
  /// The entries of some of the positions.
  func piece(_ range: Range<Int>) -> Entries {
    if range == 0..<count { return self }
    let byDimension = { (numbers: [Float]) in
      stride(from: 0, to: numbers.count, by: max(count, 1)).flatMap { start in
        numbers[start + range.lowerBound..<start + range.upperBound]
      }
    }
    return Entries(
      count: range.count,
      layers: layers.map { layer in
        LayerEntries(
          keyIndices: Array(layer.keyIndices[range]),
          valueIndices: layer.valueIndices.isEmpty ? [] : Array(layer.valueIndices[range]),
          keyUser: byDimension(layer.keyUser), valueUser: byDimension(layer.valueUser))
      },
      items: items.map { Array($0[range]) }, timestamps: timestamps.map { Array($0[range]) })
  }
}
