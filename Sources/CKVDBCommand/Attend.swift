/// `ckvdb attend`: a file of queries in, a file of attention outputs out. Requests go to the store in batches and their
/// answers straight to the file, so that neither has to fit in memory; the output appears only if no request failed.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV
internal import PoolStorage

struct Attend: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Attend over the histories of users.",
    discussion: """
      The queries are a safetensors file of R requests with C queries each:

        user [R] i64, or user.bytes [B] u8 and user.ends [R]    whose history
        query [R, C, d_k] f32, f16, bf16
        position [R] or [R, C]       optional: a query sees the positions below
                                     its own; without it, every query sees all

      The output is a safetensors file of output [R, C, d_v] f32 and length [R] i64,
      the length of the history that each request saw. If any request fails, because
      its user is unknown or stale, or its position is beyond the history, each one
      that failed is named on standard error, the exit code is 65, and no output is
      written.

      The attention functions: softmax, scaled dot products over all heads.

        ckvdb attend shop.ckv --queries q.safetensors --output out.safetensors \\
            --attention softmax --window 200
      """)

  @OptionGroup var store: StoreArgument

  @Option(help: ArgumentHelp("The queries, a safetensors file.", valueName: "file"), completion: .file())
  var queries: String

  @Option(help: ArgumentHelp("Where the outputs go; a file there is replaced.", valueName: "file"), completion: .file())
  var output: String

  @Option(help: ArgumentHelp("The attention function: softmax.", valueName: "name"))
  var attention: String

  @Option(help: "The layer that is attended over.")
  var layer = 0

  @Option(help: ArgumentHelp("How many positions before its own a query sees (default: all).", valueName: "positions"))
  var window: Int?

  @Option(
    help: ArgumentHelp(
      "Factor of the dot products (default: the model's, or 1/sqrt(d_k / heads)).", valueName: "factor"))
  var scale: Float?

  func validate() throws {
    guard attention == "softmax" else {
      throw ValidationError("--attention is '\(attention)', this version computes: softmax.")
    }
    guard layer >= 0 else { throw ValidationError("--layer is \(layer), expected 0 or more.") }
    if let window, window < 1 { throw ValidationError("--window is \(window), expected at least 1.") }
    if let scale, !(scale > 0 && scale.isFinite) {
      throw ValidationError("--scale is \(scale), expected a finite number above 0.")
    }
  }

  func run() throws {
    try naming(output) { try PendingFile.check(output) }
    try store.open(.readOnly) { store in
      let shape = try store.model.shape.layer(layer)
      guard let value = shape.value else {
        throw StoreError.invalidInput("layer \(layer) has no values, so there is nothing to attend to")
      }
      let input = try naming(queries) { try QueryFile(path: queries, keyWidth: shape.key.width) }
      try write(input, to: try writer(input, valueWidth: value.width), store)
    }
  }

  private func writer(_ input: QueryFile, valueWidth: Int) throws -> SafetensorsWriter {
    let plan = [
      TensorPlan(name: "output", dtype: .f32, shape: [input.count, input.queryCount, valueWidth]),
      TensorPlan(name: "length", dtype: .i64, shape: [input.count]),
    ]
    return try naming(output) {
      try SafetensorsWriter(path: output, tensors: plan, metadata: ["ckvdb.attention": attention])
    }
  }

  private func write(_ input: QueryFile, to writer: consuming SafetensorsWriter, _ store: CacheStore) throws {
    var lengths: [Int64] = []
    var failureCount = 0
    var progress = ProgressLine("requests")
    var first = 0
    while first < input.count {
      let end = min(first + input.batchCount, input.count)
      let responses = try store.attend(
        (first..<end).map(input.request), layer: layer, .softmax(scale: scale, window: window))
      for (request, response) in zip(first..<end, responses) {
        if let error = response.error {
          progress.clear()
          let place = "\(queries): request \(request)"
          ErrorText.complain(ErrorText.failure(error, at: place).message)
          failureCount += 1
        } else if failureCount == 0 {
          try writer.append(response.output)
          lengths.append(Int64(response.length))
        }
      }
      first = end
      progress.update(first, share: Double(first) / Double(input.count))
    }
    progress.clear()
    guard failureCount == 0 else {
      throw CommandFailure(
        .data, "\(queries): \(failureCount) of \(NumberText.count(input.count, "request")) failed, no output is written"
      )
    }
    try writer.append(lengths)
    try writer.finish()
    print("\(NumberText.count(input.count, "request")) of \(NumberText.count(input.queryCount, "query", "queries"))")
  }
}

/// The queries of R requests.
private struct QueryFile {
  let count: Int
  /// C: queries of one request.
  let queryCount: Int
  private let users: UserColumn
  private let queries: TensorRows
  /// Either one per request or one per query.
  private let positions: [Int64]?

  init(path: String, keyWidth: Int) throws(StoreError) {
    let file = try SafetensorsFile(path: path, followsLinks: true)
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
    guard let position = file.info("position") else {
      positions = nil
      return
    }
    guard position.shape == [count] || position.shape == [count, queryCount] else {
      throw file.failure(
        "tensor \"position\" has shape \(position.shape), expected \([count]) or \([count, queryCount])")
    }
    let numbers = try file.integers("position") ?? []
    if let place = numbers.firstIndex(where: { $0 < 0 }) {
      throw file.failure("tensor \"position\" at index \(place) is \(numbers[place]), expected 0 or more")
    }
    let queryCount = queryCount
    positions = position.shape.count == 2 ? numbers : numbers.flatMap { Array(repeating: $0, count: queryCount) }
  }

  /// Requests per call: enough for every core, few enough to hold.
  var batchCount: Int { max(1, min(1_024, 65_536 / max(queryCount, 1))) }

  func request(_ index: Int) -> AttendRequest {
    var numbers: [Float] = []
    numbers.reserveCapacity(queries.width)
    queries.append(CollectionOfOne(index), to: &numbers)
    let own = positions.map { $0[index * queryCount..<(index + 1) * queryCount].map { Int($0) } }
    return AttendRequest(user: users[index], queries: numbers, positions: own)
  }
}

extension ModelShape {
  /// The shape of a layer that somebody asked for.
  func layer(_ number: Int) throws(StoreError) -> LayerShape {
    guard layers.indices.contains(number) else {
      throw .invalidInput("layer \(number): the model has \(NumberText.count(layers.count, "layer"))")
    }
    return layers[number]
  }
}
