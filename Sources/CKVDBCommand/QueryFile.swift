/// The file of queries that `ckvdb attend` reads: whose histories, which vectors, as of which positions, and the
/// tensors that single attention functions take. Everything about shapes and finite numbers is checked when the file is
/// opened, with the tensor and the row in the message; what only the store can know, a request's answer says.

internal import ArgumentParser
package import CacheTypes
package import CollectiveKV
internal import PoolStorage

/// An attention function's name on the command line.
package enum AttentionName: String, CaseIterable, ExpressibleByArgument {
  case softmax, topk, select, simhash, sdim
  case sdimSum = "sdim-sum"
  case silu
  case siluBias = "silu-bias"

  var takesTop: Bool { self == .topk || self == .select || self == .simhash }
  var takesDivisor: Bool { self == .silu || self == .siluBias }
  var takesScale: Bool { self != .sdim && self != .sdimSum }
  /// The tensor that overrides the model's rotations.
  var rotationsName: String? {
    switch self {
    case .simhash: "rotations.simhash"
    case .sdim, .sdimSum: "rotations.sdim"
    case .softmax, .topk, .select, .silu, .siluBias: nil
    }
  }
}

/// The queries of R requests, and what their attention function takes beside them.
package struct QueryFile {
  package let count: Int
  /// C: queries of one request.
  package let queryCount: Int
  private let file: SafetensorsFile
  private let users: UserColumn
  private let queries: TensorRows
  /// Either one per request or one per query.
  private let positions: [Int64]?
  /// What `select` searches for, as many as `queries`.
  private let searches: TensorRows?
  private let rotations: Rotations?
  private let bias: [Float]

  /// - Parameters:
  ///   - searchWidth: d_k of the layer that is searched, if one is.
  package init(path: String, for attention: AttentionName, keyWidth: Int, searchWidth: Int?) throws(StoreError) {
    file = try SafetensorsFile(path: path, followsLinks: true)
    users = try UserColumn(file)
    count = users.count
    guard let info = file.info("query") else { throw file.failure("no tensor \"query\"") }
    guard info.shape.count == 3, info.shape[0] == count, info.shape[2] == keyWidth,
      let rows = try file.rows("query", shape: info.shape)
    else {
      throw file.failure("tensor \"query\" has shape \(info.shape), expected [\(count), C, \(keyWidth)]")
    }
    queryCount = info.shape[1]
    queries = rows
    positions = try Self.positions(file, count: count, queryCount: queryCount)
    if let searchWidth {
      searches = try Self.required(file, "select.query", [info.shape[0], info.shape[1], searchWidth], "select")
    } else {
      searches = nil
    }
    rotations = try Self.rotations(file, attention, keyWidth: keyWidth)
    bias = attention == .siluBias ? try Self.positionBias(file) : []
    try file.checkWhole()
  }

  /// One number per query: the file's `position` is `[R]` or `[R, C]`.
  private static func positions(_ file: SafetensorsFile, count: Int, queryCount: Int) throws(StoreError) -> [Int64]? {
    guard let position = file.info("position") else { return nil }
    guard position.shape == [count] || position.shape == [count, queryCount] else {
      throw file.failure(
        "tensor \"position\" has shape \(position.shape), expected \([count]) or \([count, queryCount])")
    }
    let numbers = try file.integers("position") ?? []
    if let place = numbers.firstIndex(where: { $0 < 0 }) {
      throw file.failure("tensor \"position\" at index \(place) is \(numbers[place]), expected 0 or more")
    }
    return position.shape.count == 2 ? numbers : numbers.flatMap { Array(repeating: $0, count: queryCount) }
  }

  private static func required(
    _ file: SafetensorsFile, _ name: String, _ shape: [Int], _ function: String
  ) throws(StoreError) -> TensorRows {
    guard let rows = try file.rows(name, shape: shape) else {
      throw file.failure("no tensor \(name.debugDescription), which \(function) needs")
    }
    return rows
  }

  /// The file's own rotations of the function; `nil` if it has none, and the model's count.
  private static func rotations(
    _ file: SafetensorsFile, _ attention: AttentionName, keyWidth: Int
  ) throws(StoreError) -> Rotations? {
    guard let name = attention.rotationsName, let info = file.info(name) else { return nil }
    let isGrouped = attention != .simhash
    guard info.shape.count == (isGrouped ? 3 : 2), info.shape.last == keyWidth, info.shape.allSatisfy({ $0 >= 1 }),
      let rows = try file.rows(name, shape: info.shape)
    else {
      throw file.failure(
        "tensor \(name.debugDescription) has shape \(info.shape), expected [\(isGrouped ? "G, t" : "b"), \(keyWidth)]")
    }
    var numbers: [Float] = []
    rows.append(0..<rows.rowCount, to: &numbers)
    return isGrouped
      ? Rotations(numbers, groups: info.shape[0], bits: info.shape[1]) : Rotations(numbers, bits: info.shape[0])
  }

  private static func positionBias(_ file: SafetensorsFile) throws(StoreError) -> [Float] {
    guard let info = file.info("position_bias") else {
      throw file.failure("no tensor \"position_bias\", which silu-bias needs")
    }
    guard info.shape.count == 1, let rows = try file.rows("position_bias", shape: info.shape) else {
      throw file.failure("tensor \"position_bias\" has shape \(info.shape), expected one dimension")
    }
    var numbers: [Float] = []
    rows.append(0..<rows.rowCount, to: &numbers)
    return numbers
  }

  /// The attention function with its parameters, those of the file's included.
  package func function(
    _ name: AttentionName, top: Int, divisor: Float?, selectLayer: Int?, scale: Float?, window: Int?
  ) -> Attention {
    let kind: Attention.Kind =
      switch name {
      case .softmax: .softmax
      case .topk: .topk(top: top)
      case .select: .select(top: top, layer: selectLayer)
      case .simhash: .simhash(top: top, rotations: rotations)
      case .sdim: .sdim(rotations: rotations)
      case .sdimSum: .sdimSum(rotations: rotations)
      case .silu: .silu(divisor: divisor)
      case .siluBias: .siluBias(bias: bias, divisor: divisor)
      }
    return Attention(kind, scale: scale, window: window)
  }

  /// Requests per call: enough for every core, few enough to hold.
  var batchCount: Int { max(1, min(1_024, 65_536 / max(queryCount, 1))) }

  /// Requests of a batch; throws if the file was cut short since it was opened.
  package func requests(_ range: Range<Int>) throws(StoreError) -> [AttendRequest] {
    let requests = range.map(request)
    try file.checkWhole()
    return requests
  }

  private func request(_ index: Int) -> AttendRequest {
    let own = positions.map { $0[index * queryCount..<(index + 1) * queryCount].map { Int($0) } }
    return AttendRequest(
      user: users[index], queries: Self.row(index, of: queries), positions: own,
      selectQueries: searches.map { Self.row(index, of: $0) })
  }

  private static func row(_ index: Int, of rows: TensorRows) -> [Float] {
    var numbers: [Float] = []
    numbers.reserveCapacity(rows.width)
    rows.append(CollectionOfOne(index), to: &numbers)
    return numbers
  }
}
