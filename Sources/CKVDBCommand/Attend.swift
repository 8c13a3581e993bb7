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

      The attention functions, each over the positions that a query sees (a of them
      at most with --window a), head by head unless said otherwise:

        softmax    scaled dot product attention
        topk       softmax over the --top K greatest dot products (TWIN)
        select     softmax over the --top K positions whose whole keys, of
                   --select-layer L or of the same layer, have the greatest dot
                   products with select.query [R, C, d_k of L] (SIM)
        simhash    softmax over the --top K positions whose hash codes differ least
                   from the query's: signs of rotations.simhash [b, d_k] (ETA)
        sdim       over whole values: the mean over G of the normalised sums of the
                   values whose codes of t bits equal the query's: signs of
                   rotations.sdim [G, t, d_k] (SDIM); sdim-sum: not normalised
        silu       silu(scale q.k) / divisor as weights, no softmax (HSTU)
        silu-bias  silu(scale q.k + position_bias[d]) / divisor, d positions before
                   the latest one seen: position_bias [n or more]

      select.query, rotations.*, position_bias are tensors beside query, in f32, f16
      or bf16. Rotations and the divisor come from the model unless the queries bring
      rotations, or the call a --divisor. Selections compare unscaled dot products in
      32-bit floats; of equal ones the more recent position is kept.

      The output is a safetensors file of output [R, C, d_v] f32 and length [R] i64,
      the length of the history that each request saw. If any request fails, because
      its user is unknown or stale, or its position is beyond the history, each one
      that failed is named on standard error, the exit code is 65, and no output is
      written.

        ckvdb attend shop.ckv --queries q.safetensors --output out.safetensors \\
            --attention softmax --window 200
        ckvdb attend shop.ckv --queries q.safetensors --output out.safetensors \\
            --attention select --top 100 --select-layer 1
      """)

  @OptionGroup var store: StoreArgument

  @OptionGroup var rollback: RollbackArgument

  @Option(help: ArgumentHelp("The queries, a safetensors file.", valueName: "file"), completion: .file())
  var queries: String

  @Option(help: ArgumentHelp("Where the outputs go; a file there is replaced.", valueName: "file"), completion: .file())
  var output: String

  @Option(help: ArgumentHelp("The attention function.", valueName: "name"))
  var attention: AttentionName

  @Option(help: "The layer that is attended over.")
  var layer = 0

  @Option(help: ArgumentHelp("How many positions before its own a query sees (default: all).", valueName: "positions"))
  var window: Int?

  @Option(
    help: ArgumentHelp(
      "Factor of the dot products (default: the model's, or 1/sqrt(d_k / heads)).", valueName: "factor"))
  var scale: Float?

  @Option(help: ArgumentHelp("How many positions topk, select and simhash keep.", valueName: "positions"))
  var top: Int?

  @Option(help: ArgumentHelp("Divisor of the silu functions (default: the model's).", valueName: "number"))
  var divisor: Float?

  @Option(help: ArgumentHelp("The layer whose keys select searches (default: the same layer).", valueName: "layer"))
  var selectLayer: Int?

  func validate() throws {
    try validateFunction()
    guard layer >= 0 else { throw ValidationError("--layer is \(layer), expected 0 or more.") }
    if let window, window < 1 { throw ValidationError("--window is \(window), expected at least 1.") }
    if let scale, !(scale > 0 && scale.isFinite) {
      throw ValidationError("--scale is \(scale), expected a finite number above 0.")
    }
  }

  /// Options that the function needs are there, others are not: a parameter that would be left aside is a mistake.
  private func validateFunction() throws {
    let name = attention.rawValue
    if attention.takesTop, top == nil { throw ValidationError("--attention \(name) needs --top.") }
    if let top {
      guard attention.takesTop else { throw ValidationError("--top goes with topk, select and simhash, not \(name).") }
      guard top >= 1 else { throw ValidationError("--top is \(top), expected at least 1.") }
    }
    if let divisor {
      guard attention.takesDivisor else {
        throw ValidationError("--divisor goes with silu and silu-bias, not \(name).")
      }
      guard divisor.isFinite, divisor != 0 else {
        throw ValidationError("--divisor is \(divisor), expected a finite number other than 0.")
      }
    }
    if let selectLayer {
      guard attention == .select else { throw ValidationError("--select-layer goes with select, not \(name).") }
      guard selectLayer >= 0 else { throw ValidationError("--select-layer is \(selectLayer), expected 0 or more.") }
    }
    if scale != nil, !attention.takesScale { throw ValidationError("--scale does not go with \(name).") }
  }

  func run() throws {
    try naming(output) { try PendingFile.check(output) }
    try store.open(.readOnly, rollback) { store in
      let shape = try store.model.shape.layer(layer)
      guard let value = shape.value else {
        throw StoreError.invalidInput("layer \(layer) has no values, so there is nothing to attend to")
      }
      let searched = try attention == .select ? store.model.shape.layer(selectLayer ?? layer) : nil
      let input = try naming(queries) {
        try QueryFile(path: queries, for: attention, keyWidth: shape.key.width, searchWidth: searched?.key.width)
      }
      let function = input.function(
        attention, top: top ?? 0, divisor: divisor, selectLayer: selectLayer, scale: scale, window: window)
      // What fits no request is said once, before an output is begun.
      _ = try store.attend([], layer: layer, function)
      try write(input, function, to: try writer(input, valueWidth: value.width), store)
    }
  }

  private func writer(_ input: QueryFile, valueWidth: Int) throws -> SafetensorsWriter {
    let plan = [
      TensorPlan(name: "output", dtype: .f32, shape: [input.count, input.queryCount, valueWidth]),
      TensorPlan(name: "length", dtype: .i64, shape: [input.count]),
    ]
    return try naming(output) {
      try SafetensorsWriter(path: output, tensors: plan, metadata: ["ckvdb.attention": attention.rawValue])
    }
  }

  private func write(
    _ input: QueryFile, _ function: Attention, to writer: consuming SafetensorsWriter, _ store: CacheStore
  ) throws {
    var lengths: [Int64] = []
    var failureCount = 0
    var progress = ProgressLine("requests")
    var first = 0
    while first < input.count {
      let end = min(first + input.batchCount, input.count)
      let requests = try naming(queries) { try input.requests(first..<end) }
      let responses = try store.attend(requests, layer: layer, function)
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

extension ModelShape {
  /// The shape of a layer that somebody asked for.
  func layer(_ number: Int) throws(StoreError) -> LayerShape {
    guard layers.indices.contains(number) else {
      throw .invalidInput("layer \(number): the model has \(NumberText.count(layers.count, "layer"))")
    }
    return layers[number]
  }
}
