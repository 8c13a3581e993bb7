/// The settings in a model file's `__metadata__`. Keys that start with `ckvdb.` are the engine's: one that it does not
/// know is refused, because a misspelt setting would change the numbers without a word. Other keys are ignored.

internal import CacheTypes

/// The settings of every layer.
struct ModelMetadata {
  /// Heads of every layer; the model has to say them, with or without a layer's number.
  let heads: [Int]
  let settings: [LayerSettings]
  let takesItems: Bool

  static let prefix = "ckvdb."
  private static let format = "1"
  private static let layerKeys = ["heads", "scale", "divisor"]

  init(_ file: SafetensorsFile, layerCount: Int) throws(StoreError) {
    try Self.checkKeys(file, layerCount: layerCount)
    let format = file.metadata["ckvdb.format"]
    guard format == Self.format else {
      throw file.failure("metadata ckvdb.format is \(Self.shown(format)), expected \"\(Self.format)\"")
    }
    switch file.metadata["ckvdb.input"] {
    case nil, "external": takesItems = false
    case "item": takesItems = true
    case let other:
      throw file.failure("metadata ckvdb.input is \(Self.shown(other)), expected \"item\" or \"external\"")
    }
    var heads: [Int] = []
    var settings: [LayerSettings] = []
    for layer in 0..<layerCount {
      heads.append(try Self.heads(file, layer))
      settings.append(
        LayerSettings(
          scale: try Self.number(file, "scale", layer, expected: "a finite number above 0") { $0 > 0 },
          divisor: try Self.number(file, "divisor", layer, expected: "a finite number other than 0") { $0 != 0 }))
    }
    self.heads = heads
    self.settings = settings
  }

  private static func checkKeys(_ file: SafetensorsFile, layerCount: Int) throws(StoreError) {
    for key in file.metadata.keys.sorted() where key.hasPrefix(prefix) {
      let name = key.dropFirst(prefix.count)
      if name == "format" || name == "input" || layerKeys.contains(String(name)) { continue }
      let parts = name.split(separator: ".", omittingEmptySubsequences: false)
      guard parts.count == 2, layerKeys.contains(String(parts[0])) else {
        throw file.failure("metadata key \(key.debugDescription) is unknown")
      }
      guard let layer = Int(parts[1]), String(layer) == parts[1], (0..<layerCount).contains(layer) else {
        throw file.failure("metadata key \(key.debugDescription) names no layer; there are \(layerCount), from 0")
      }
    }
  }

  /// A layer's own setting, or else the one for all layers, and its key.
  private static func setting(_ file: SafetensorsFile, _ name: String, _ layer: Int) -> (key: String, text: String)? {
    for key in ["\(prefix)\(name).\(layer)", "\(prefix)\(name)"] {
      if let text = file.metadata[key] { return (key, text) }
    }
    return nil
  }

  private static func heads(_ file: SafetensorsFile, _ layer: Int) throws(StoreError) -> Int {
    guard let (key, text) = setting(file, "heads", layer) else {
      throw file.failure("metadata has neither ckvdb.heads nor ckvdb.heads.\(layer)")
    }
    guard let heads = Int(text), String(heads) == text, (1...ModelLimits.width).contains(heads) else {
      throw file.failure("metadata \(key) is \(shown(text)), expected an integer of 1 to \(ModelLimits.width)")
    }
    return heads
  }

  private static func number(
    _ file: SafetensorsFile, _ name: String, _ layer: Int, expected: String, _ isGood: (Float) -> Bool
  ) throws(StoreError) -> Float? {
    guard let (key, text) = setting(file, name, layer) else { return nil }
    guard let number = Float(text), number.isFinite, isGood(number) else {
      throw file.failure("metadata \(key) is \(shown(text)), expected \(expected)")
    }
    return number
  }

  private static func shown(_ text: String?) -> String { text?.debugDescription ?? "missing" }
}
