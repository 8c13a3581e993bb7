/// `ckvdb init`: makes a store from a model file and says what was made.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Init: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make an empty store for a model.",
    discussion: """
      The model file is a safetensors file with the pools, the projections and the
      routers of every layer, and optionally items.embedding, the embeddings of all
      items. It is copied into the store, which needs nothing else afterwards.

        ckvdb init shop.ckv --model model.safetensors
        ckvdb init shop.ckv --model model.safetensors --element i8 --keep-timestamps
      """)

  @OptionGroup var store: StoreArgument

  @Option(help: ArgumentHelp("The model, a safetensors file.", valueName: "file"), completion: .file())
  var model: String

  @Option(help: "How the numbers of users are kept.")
  var element: ElementType = .f16

  @Flag(help: "Keep the item id of every position.")
  var keepItems = false

  @Flag(help: "Keep the timestamp of every position.")
  var keepTimestamps = false

  @Option(help: ArgumentHelp("Bytes of a database page, a power of two from 4096 to 65536.", valueName: "bytes"))
  var pageSize = 8_192

  func validate() throws { try validatePageSize(pageSize) }

  func run() throws {
    let options = CreateOptions(
      element: element, keepsItems: keepItems, keepsTimestamps: keepTimestamps, pageByteCount: pageSize)
    let made = try naming(model) { try CacheStore.create(at: store.path, model: model, options: options) }
    try naming(store.path) {
      let model = made.model
      try made.close()
      print("made \(store.path)")
      for line in ModelText.lines(model) { print("  " + line) }
      print("  " + ModelText.positionLine(model.shape, element))
      print(
        "  keeps      \(ModelText.columns(keepItems, keepTimestamps)); pages of \(NumberText.grouped(pageSize)) bytes")
    }
  }
}

/// What people read about a model.
enum ModelText {
  static func lines(_ model: ModelDescription) -> [String] {
    var lines = ["model      \(model.digest)"]
    for (number, layer) in model.shape.layers.enumerated() {
      lines.append("layer \(pad(String(number), 5))\(sides(layer)); \(NumberText.count(layer.heads, "head"))")
    }
    let items = model.itemCount.map { ", brought for \(NumberText.count($0, "item"))" } ?? ""
    lines.append("embedding  \(NumberText.count(model.shape.embeddingWidth, "number"))\(items)")
    return lines
  }

  /// What keys and values are made of.
  static func sides(_ layer: LayerShape) -> String {
    "key \(part(layer.key)); " + (layer.value.map { "value \(part($0))" } ?? "no value")
  }

  /// What one position takes, beside what its full keys and values would.
  static func positionLine(_ shape: ModelShape, _ element: ElementType) -> String {
    let bits = shape.indexBits + shape.userWidth * element.byteCount * 8
    let bytes = NumberText.fixed(Double(bits) / 8, 2)
    return "position   \(bytes) bytes (\(element.name)); full keys and values in f16: "
      + "\(NumberText.grouped(shape.fullWidth * 2)) bytes"
  }

  static func columns(_ items: Bool, _ timestamps: Bool) -> String {
    let kept = (items ? ["items"] : []) + (timestamps ? ["timestamps"] : [])
    return kept.isEmpty ? "neither items nor timestamps" : kept.joined(separator: " and ")
  }

  static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func part(_ part: PartShape) -> String {
    let form = part.isAdditive ? "x\(part.userWidth) onto \(part.poolWidth)" : "\(part.userWidth) + \(part.poolWidth)"
    let router = part.hasRouter ? "" : ", no router"
    return "\(form) from \(NumberText.grouped(part.poolRows)) rows\(router)"
  }
}
