/// What a caller asks of attention: query vectors, and which positions each of them sees. Checks everything a caller
/// can get wrong before any number is computed; the attention functions rely on that and check nothing again.

internal import CKernels
internal import CacheTypes

/// Queries over one user's history.
package struct AttentionQueries: Sendable {
  /// `count x d_k`, row-major.
  package var values: [Float]
  package var count: Int
  /// Per query, how many positions exist for it (as-of); all of them where `nil`.
  package var positions: [Int]?
  /// How many positions a query sees at most, the latest ones; all of them where `nil`.
  package var window: Int?
  /// Factor on the dot products; `1 / sqrt(d_k / heads)` where `nil`.
  package var scale: Float?

  package init(values: [Float], count: Int, positions: [Int]? = nil, window: Int? = nil, scale: Float? = nil) {
    self.values = values
    self.count = count
    self.positions = positions
    self.window = window
    self.scale = scale
  }
}

/// Which of a stage's positions a query sees; query j belongs to new position j.
package enum StageMask: Sendable, Hashable, CaseIterable {
  /// The stored positions and the new ones up to and with its own.
  case causal
  /// The stored positions and its own new one: candidates that do not see each other.
  case historyAndSelf
}

extension AttentionQueries {
  /// - Throws: `StoreError.invalidInput` naming the row: a wrong count of numbers, one that is not finite, a position
  ///   beyond `length`, a window below 1, a scale that is not a finite number above zero.
  func check(width: Int, length: Int) throws(StoreError) {
    let (wanted, overflow) = count.multipliedReportingOverflow(by: width)
    guard count >= 0, !overflow, values.count == wanted else {
      throw .invalidInput("\(values.count) query numbers for \(count) queries of \(width)")
    }
    let place = unsafe values.withUnsafeBufferPointer { numbers in
      numbers.isEmpty ? 0 : unsafe Kernels.active.first_nonfinite_f32(numbers.baseAddress!, numbers.count)
    }
    if place < values.count {
      throw .invalidInput("query at row \(place / width) holds \(values[place]) at \(place % width)")
    }
    if let positions {
      guard positions.count == count else { throw .invalidInput("\(positions.count) positions for \(count) queries") }
      for (row, position) in positions.enumerated() where position < 0 || position > length {
        throw .invalidInput("position \(position) at row \(row) is beyond the history's length \(length)")
      }
    }
    if let window, window < 1 { throw .invalidInput("a window of \(window) positions; at least 1 is needed") }
    if let scale, !(scale > 0 && scale.isFinite) {
      throw .invalidInput("a scale of \(scale); a finite number above zero is needed")
    }
  }

  /// The positions that a query sees if `length` of them exist for it.
  func range(length: Int) -> Range<Int> {
    max(0, length - (window ?? length))..<length
  }

  func scale(for shape: LayerShape) -> Float {
    scale ?? Float(1 / (Double(shape.key.width) / Double(shape.heads)).squareRoot())
  }
}
