/// What a store must answer, computed in 64-bit floats, one position at a time and as plainly as it can be written. It
/// shares no code with the engine. Numbers of a TestModel are chosen so that 32-bit floats make no difference.

import CollectiveKV
import Foundation

/// What happens at one position of a history.
struct Event: Hashable, Sendable {
  /// One per layer.
  var embeddings: [[Float]]
  var item: Int64
  var timestamp: Int64
}

/// What is kept of one position.
struct Kept: Hashable, Sendable {
  struct Layer: Hashable, Sendable {
    var keyIndex = 0
    var valueIndex = 0
    var keyUser: [Double] = []
    var valueUser: [Double] = []
  }
  var layers: [Layer]
  var item: Int64
  var timestamp: Int64
}

/// Full keys and values of a history in one layer, a row per position.
struct ReferenceKV {
  var keys: [[Double]] = []
  var values: [[Double]] = []
}

struct Reference: Sendable {
  let model: TestModel

  init(_ model: TestModel) { self.model = model }

  // MARK: Events

  /// Random events, of items below 50.
  func events(_ count: Int, _ random: inout SeededRandom) -> [Event] {
    (0..<count).map { _ in
      let item = Int64(random.below(50))
      let brought = model.tensors["items.embedding"].map { Self.row($0, Int(item)) }
      let embeddings = model.shape.layers.map { _ in brought ?? random.numbers(model.shape.embeddingWidth) }
      return Event(
        embeddings: embeddings, item: item, timestamp: 1_700_000_000 + Int64(random.below(1 << 20)))
    }
  }

  // MARK: Encoding

  func kept(_ event: Event, as element: ElementType) -> Kept {
    let layers = model.shape.layers.enumerated().map { number, shape in
      let embedding = event.embeddings[number].map(Double.init)
      let name = "layers.\(number)"
      var layer = Kept.Layer()
      layer.keyIndex = shape.key.hasRouter ? route(name + ".key", embedding) : Int(event.item)
      layer.keyUser = project(name + ".key", embedding).map { Self.rounded($0, element) }
      if let value = shape.value {
        layer.valueIndex = value.hasRouter ? route(name + ".value", embedding) : layer.keyIndex
        layer.valueUser = project(name + ".value", embedding).map { Self.rounded($0, element) }
      }
      return layer
    }
    return Kept(layers: layers, item: event.item, timestamp: event.timestamp)
  }

  /// W s + b.
  private func linear(_ name: String, _ embedding: [Double]) -> [Double]? {
    guard let weight = model.tensors[name + ".weight"], let bias = model.tensors[name + ".bias"] else { return nil }
    return bias.numbers.enumerated().map { output, bias in
      Self.dot(Self.row(weight, output).map(Double.init), embedding) + Double(bias)
    }
  }

  private func project(_ name: String, _ embedding: [Double]) -> [Double] {
    linear(name + ".projection", embedding) ?? []
  }

  /// The greatest score's row; a tie goes to the lowest.
  private func route(_ name: String, _ embedding: [Double]) -> Int {
    let scores = linear(name + ".router", embedding)!
    return scores.firstIndex(of: scores.max()!)!
  }

  // MARK: Reconstruction

  func full(_ history: [Kept], layer number: Int) -> ReferenceKV {
    let shape = model.shape.layers[number]
    var full = ReferenceKV()
    for position in history {
      let layer = position.layers[number]
      full.keys.append(row("layers.\(number).key", shape.key, layer.keyIndex, layer.keyUser))
      if let value = shape.value {
        full.values.append(row("layers.\(number).value", value, layer.valueIndex, layer.valueUser))
      }
    }
    return full
  }

  private func row(_ name: String, _ shape: PartShape, _ index: Int, _ user: [Double]) -> [Double] {
    let shared = Self.row(model.tensors[name + ".pool"]!, index).map(Double.init)
    guard shape.isAdditive, let basis = model.tensors[name + ".basis"] else { return user + shared }
    return shared.enumerated().map { column, number in
      number + Self.dot(Self.row(basis, column).map(Double.init), user)
    }
  }

  // MARK: Attention

  /// Softmax attention of one query over the positions `range` of a history.
  func attend(
    _ query: [Float], _ full: ReferenceKV, _ range: Range<Int>, layer number: Int, scale: Double? = nil
  ) -> [Double] {
    let shape = model.shape.layers[number]
    let (keyWidth, valueWidth) = (shape.key.width / shape.heads, shape.value!.width / shape.heads)
    let factor = scale ?? 1 / Double(keyWidth).squareRoot()
    var output = [Double](repeating: 0, count: shape.value!.width)
    guard !range.isEmpty else { return output }
    for head in 0..<shape.heads {
      let columns = head * keyWidth..<(head + 1) * keyWidth
      let scores = range.map { factor * Self.dot(Array(full.keys[$0][columns]), query[columns].map(Double.init)) }
      let weights = scores.map { exp($0 - scores.max()!) }
      let sum = weights.reduce(0, +)
      for (weight, position) in zip(weights, range) {
        for column in head * valueWidth..<(head + 1) * valueWidth {
          output[column] += weight / sum * full.values[position][column]
        }
      }
    }
    return output
  }

  // MARK: Numbers

  static func row(_ tensor: TestModel.TensorNumbers, _ row: Int) -> [Float] {
    let width = tensor.shape[1]
    return Array(tensor.numbers[row * width..<(row + 1) * width])
  }

  static func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

  /// The nearest number of the element type, of two equally near ones the even one; i8 arrives as f16.
  static func rounded(_ number: Double, _ element: ElementType) -> Double {
    switch element {
    case .f32: return Double(Float(number))
    case .f16, .i8: return Double(Float16(number))
    case .bf16:
      guard number != 0 else { return number }
      let step = Double(sign: .plus, exponent: number.exponent - 7, significand: 1)
      return (number / step).rounded(.toNearestOrEven) * step
    }
  }
}
