/// `ckvdb stat`: what a store holds and what it costs, for people or as JSON.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Stat: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a store holds and what it takes.",
    discussion: """
      The compression ratio is bytes kept / bytes of the full keys and values of the
      same positions; lower is better. It is given three times: for the numbers of
      users alone, with the pool indices, and for all bytes on disk, the pool
      included; each against a full cache in f16 and in f32.

        ckvdb stat shop.ckv
        ckvdb stat shop.ckv --json
      """)

  @OptionGroup var store: StoreArgument

  @Flag(help: "Print one JSON object.")
  var json = false

  func run() throws {
    try store.open(.readOnly, acceptsRollback: true) { store in
      let statistics = try store.statistics()
      print(json ? Self.json(statistics, store.model) : Self.text(statistics, store.model, path: self.store.path))
    }
  }

  static func text(_ statistics: StoreStatistics, _ model: ModelDescription, path: String) -> String {
    let count = NumberText.grouped
    let size = NumberText.bytes
    var lines = [path]
    lines += ModelText.lines(model).map { "  " + $0 }
    lines.append("  " + ModelText.positionLine(model.shape, statistics.element))
    let kept = ModelText.columns(statistics.keepsItems, statistics.keepsTimestamps)
    lines.append("  keeps      \(kept)")
    lines.append(
      "  format     version \(statistics.formatVersion), pages of \(count(statistics.pageByteCount)) bytes, "
        + "blocks of \(NumberText.count(statistics.blockCapacity, "position"))")
    let stale = statistics.staleUsers == 0 ? "" : " (\(count(statistics.staleUsers)) stale)"
    lines.append("  users      \(count(statistics.users))\(stale)")
    lines.append("  positions  \(count(statistics.positions))")
    lines.append("  rows       \(count(statistics.blockRows)) in blocks, \(count(statistics.tailRows)) in the tail")
    lines.append(
      "  on disk    \(size(statistics.storeByteCount)): database \(size(statistics.databaseByteCount)), "
        + "log \(size(statistics.logByteCount)), pool \(size(statistics.poolByteCount))")
    if statistics.watermark != .sound { lines.append("  commits    \(statistics.watermark)") }
    lines += ratioTable(statistics).map { "  " + $0 }
    return lines.joined(separator: "\n")
  }

  /// The three compression ratios, one per line, under a head line.
  static func ratioTable(_ statistics: StoreStatistics) -> [String] {
    let left = { (text: String, width: Int) in String(repeating: " ", count: max(0, width - text.count)) + text }
    var lines = [ModelText.pad("", 28) + left("bytes", 12) + left("of f16", 10) + left("of f32", 10)]
    let rows = [
      ("users' numbers alone", statistics.userPartByteCount),
      ("with pool indices", statistics.payloadByteCount),
      ("on disk, everything", statistics.storeByteCount),
    ]
    for (name, bytes) in rows {
      let ratio = statistics.ratio(ofBytes: bytes)
      let shares = statistics.fullNumberCount == 0 ? ["-", "-"] : [ratio.ofF16, ratio.ofF32].map(NumberText.percent)
      lines.append(
        ModelText.pad(name, 28) + left(NumberText.bytes(bytes), 12) + left(shares[0], 10) + left(shares[1], 10))
    }
    lines.append(
      ModelText.pad("full keys and values", 28) + left(NumberText.bytes(statistics.fullNumberCount * 2), 12)
        + left("in f16", 10))
    return lines
  }

  static func json(_ statistics: StoreStatistics, _ model: ModelDescription) -> String {
    let ratio = { (byteCount: Int) in
      let ratio = statistics.ratio(ofBytes: byteCount)
      return JSONText.object([
        ("bytes", String(byteCount)), ("of_f16", JSONText.number(ratio.ofF16)),
        ("of_f32", JSONText.number(ratio.ofF32)),
      ])
    }
    return JSONText.object([
      ("format_version", String(statistics.formatVersion)),
      ("model", JSONText.string(model.digest)),
      ("layers", JSONText.array(model.shape.layers.map(layer))),
      ("embedding_width", String(model.shape.embeddingWidth)),
      ("item_count", model.itemCount.map(String.init) ?? "null"),
      ("element", JSONText.string(statistics.element.name)),
      ("keeps_items", String(statistics.keepsItems)),
      ("keeps_timestamps", String(statistics.keepsTimestamps)),
      ("page_bytes", String(statistics.pageByteCount)),
      ("block_capacity", String(statistics.blockCapacity)),
      ("users", String(statistics.users)),
      ("stale_users", String(statistics.staleUsers)),
      ("positions", String(statistics.positions)),
      ("block_rows", String(statistics.blockRows)),
      ("tail_rows", String(statistics.tailRows)),
      ("store_bytes", String(statistics.storeByteCount)),
      ("database_bytes", String(statistics.databaseByteCount)),
      ("log_bytes", String(statistics.logByteCount)),
      ("pool_bytes", String(statistics.poolByteCount)),
      ("full_numbers", String(statistics.fullNumberCount)),
      ("watermark", JSONText.string(name(statistics.watermark))),
      ("lost_commits", lostCommits(statistics.watermark)),
      (
        "compression_ratios",
        JSONText.object([
          ("user_part", ratio(statistics.userPartByteCount)),
          ("with_indices", ratio(statistics.payloadByteCount)),
          ("on_disk", ratio(statistics.storeByteCount)),
        ])
      ),
    ])
  }

  private static func name(_ state: WatermarkState) -> String {
    switch state {
    case .sound: "sound"
    case .rolledBack: "rolled back"
    case .missing: "missing"
    case .foreign: "foreign"
    case .unreadable: "unreadable"
    case .unwritten: "unwritten"
    }
  }

  /// `null` where nobody can tell.
  private static func lostCommits(_ state: WatermarkState) -> String {
    switch state {
    case .sound: "0"
    case .rolledBack(let commits): String(commits)
    case .missing, .foreign, .unreadable, .unwritten: "null"
    }
  }

  private static func layer(_ shape: LayerShape) -> String {
    JSONText.object([
      ("heads", String(shape.heads)), ("key", part(shape.key)), ("value", shape.value.map(part) ?? "null"),
    ])
  }

  private static func part(_ shape: PartShape) -> String {
    JSONText.object([
      ("user_width", String(shape.userWidth)), ("pool_width", String(shape.poolWidth)),
      ("pool_rows", String(shape.poolRows)), ("additive", String(shape.isAdditive)),
      ("router", String(shape.hasRouter)),
    ])
  }
}
