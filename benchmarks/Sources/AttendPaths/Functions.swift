/// Functions and masks whose queries go side by side, against the same queries one by one.

import CacheTypes
import KVRuntime

enum Functions {
  /// What is measured, with the queries it is measured for.
  private enum Kind: String, CaseIterable {
    case softmax, silu, siluBias, causal, causalSiluBias, historyAndSelf

    var mask: StageMask? {
      switch self {
      case .softmax, .silu, .siluBias: nil
      case .causal, .causalSiluBias: .causal
      case .historyAndSelf: .historyAndSelf
      }
    }

    func function(_ positions: Int) -> AttentionFunction {
      let bias = (0..<positions).map { Float($0 % 7) / 7 }
      return switch self {
      case .softmax, .causal, .historyAndSelf: .softmax
      case .silu: .silu(divisor: 300, bias: nil)
      case .siluBias, .causalSiluBias: .silu(divisor: 300, bias: bias)
      }
    }
  }

  static func measure(_ isSmoke: Bool) -> JSON {
    print("\nfunction         H    C   one by one, us   side by side, us   ratio   chosen, us")
    var rows: [JSON] = []
    for heads in [1, 4] {
      for count in isSmoke ? [16] : [16, 128] {
        for kind in Kind.allCases { rows.append(measure(kind, heads, count, isSmoke)) }
      }
    }
    return .array(rows)
  }

  private static func measure(_ kind: Kind, _ heads: Int, _ count: Int, _ isSmoke: Bool) -> JSON {
    // A stage's queries see stored positions and new ones: 1,000 in all, or a little more.
    let stored = 1_000 - (kind.mask == nil ? 0 : 16)
    let positions = kind.mask == nil ? stored : stored + count
    let shape = Shape(positions: positions, poolRows: 1_024, width: 256, heads: heads)
    var random = SplitMix(state: 7)
    let layer = shape.layer(&random)
    let histories = (0..<4).map { _ in shape.entries(&random) }
    let queries = AttentionQueries(values: (0..<count * 256).map { _ in random.number() }, count: count)
    let function = kind.function(positions)
    func attend(_ history: Int, _ isSideBySide: Bool?) {
      let forced = ForcedPaths(isSideBySide: isSideBySide)
      let output =
        if let mask = kind.mask {
          try! function.attend(
            queries, mask: mask, storedCount: stored, histories[history], count: positions, shape: layer.shape,
            tensors: layer.tensors, forcing: forced)
        } else {
          try! function.attend(
            queries, histories[history], count: positions, shape: layer.shape, tensors: layer.tensors, forcing: forced)
        }
      BlackHole.take(UInt64(output[0].bitPattern))
    }
    var best = [Double](repeating: .infinity, count: 3)
    for _ in 0..<(isSmoke ? 2 : 25) {
      for (place, isSideBySide) in [false, true, nil].enumerated() {
        let seconds = Clock.seconds { for history in histories.indices { attend(history, isSideBySide) } }
        best[place] = min(best[place], seconds / Double(histories.count) * 1e6)
      }
    }
    func column(_ text: String, _ width: Int) -> String {
      String(repeating: " ", count: max(0, width - text.count)) + text
    }
    print(
      kind.rawValue + column("\(heads)", 18 - kind.rawValue.count) + column("\(count)", 5)
        + column(rounded(best[0], 1), 17) + column(rounded(best[1], 1), 19) + column(rounded(best[0] / best[1], 2), 8)
        + column(rounded(best[2], 1), 13))
    return .object([
      ("function", .string(kind.rawValue)), ("n", .integer(1_000)), ("m", .integer(1_024)), ("d", .integer(256)),
      ("heads", .integer(heads)), ("queries", .integer(count)), ("oneByOneUs", .number(best[0])),
      ("sideBySideUs", .number(best[1])), ("ratio", .number(best[0] / best[1])), ("chosenUs", .number(best[2])),
    ])
  }
}
