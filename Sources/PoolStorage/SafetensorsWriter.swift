/// Writes one safetensors file as a stream. The header follows from the plan, so the bytes can come in pieces and the
/// file may be larger than memory. Nothing is seen at the path until `finish`: the bytes go to a temporary name beside
/// it, which disappears if the writer does.

package import CacheTypes

/// Owns a file that is being written. Used by one thread at a time.
package struct SafetensorsWriter: ~Copyable {
  private let path: String
  private let temporaryPath: String
  private let file: OpenFile
  private let tensors: [TensorPlan]
  private let byteCounts: [Int]
  private var buffer: [UInt8] = []
  /// The tensor that the next byte belongs to, and how many of its bytes are there.
  private var current = 0
  private var filled = 0
  private var failure: StoreError?
  private var isFinished = false

  /// What the names of unfinished files start with; a crash may leave one behind.
  package static let temporaryPrefix = ".ckvdb-unfinished-"
  private static let bufferByteCount = 1 << 20

  /// Makes the temporary file and writes the header.
  ///
  /// - Parameters:
  ///   - path: where the file will be; something there already is replaced by `finish`.
  ///   - alignment: the first tensor starts on a multiple of so many bytes.
  /// - Throws: `invalidInput` for a name that appears twice, a shape that does not fit, or a header beyond the format's
  ///   limit.
  package init(
    path: String, tensors: [TensorPlan], metadata: [String: String], alignment: Int = 8
  ) throws(StoreError) {
    let byteCounts = try Self.byteCounts(tensors)
    let header = try Self.header(tensors, byteCounts, metadata, alignment: alignment)
    let random = UInt64.random(in: .min ... .max)
    let name = Self.temporaryPrefix + Hex.encode((0..<8).map { UInt8(truncatingIfNeeded: random >> ($0 * 8)) })
    let temporaryPath = Self.join(FileSystem.directory(of: path), name)
    file = try OpenFile(temporaryPath, .creating)
    self.path = path
    self.temporaryPath = temporaryPath
    self.tensors = tensors
    self.byteCounts = byteCounts
    buffer = header
    skipFull()
  }

  deinit {
    if !isFinished { try? FileSystem.remove(temporaryPath) }
  }

  // MARK: Bytes

  /// Appends raw bytes in the order of the plan; they may run over several tensors.
  ///
  /// - Throws: `invalidInput` for more bytes than planned, with nothing written.
  package mutating func append(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
    try advance(bytes.count)
    if buffer.count + bytes.count > Self.bufferByteCount { try flush() }
    if bytes.count >= Self.bufferByteCount {
      try unsafe write(bytes)
    } else {
      unsafe buffer.append(contentsOf: bytes)
    }
  }

  package mutating func append(_ bytes: [UInt8]) throws(StoreError) {
    try unsafe bytes.span.bytes.withUnsafeBytes { (raw) throws(StoreError) in try unsafe append(raw) }
  }

  /// Appends numbers to the current tensor, rounded to its type.
  ///
  /// - Throws: `invalidInput` if the tensor is not F32, F16 or BF16 or has no room for them.
  package mutating func append(_ floats: [Float]) throws(StoreError) {
    guard !floats.isEmpty else { return }
    let dtype = try room(for: floats.count)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(floats.count * dtype.byteCount)
    for number in floats {
      switch dtype {
      case .f32: Self.put(number.bitPattern, into: &bytes)
      case .f16: Self.put(HalfPrecision.f16Bits(number), into: &bytes)
      case .bf16: Self.put(HalfPrecision.bf16Bits(number), into: &bytes)
      default: throw wrongType("floating-point numbers")
      }
    }
    try append(bytes)
  }

  /// Appends integers to the current tensor.
  ///
  /// - Throws: `invalidInput` if the tensor is of no integer type, has no room for them, or cannot hold one of them.
  package mutating func append(_ integers: [Int64]) throws(StoreError) {
    guard !integers.isEmpty else { return }
    var bytes: [UInt8] = []
    switch try room(for: integers.count) {
    case .u8: try put(integers, as: UInt8.self, into: &bytes)
    case .i8: try put(integers, as: Int8.self, into: &bytes)
    case .u16: try put(integers, as: UInt16.self, into: &bytes)
    case .i16: try put(integers, as: Int16.self, into: &bytes)
    case .u32: try put(integers, as: UInt32.self, into: &bytes)
    case .i32: try put(integers, as: Int32.self, into: &bytes)
    case .u64: try put(integers, as: UInt64.self, into: &bytes)
    case .i64: try put(integers, as: Int64.self, into: &bytes)
    default: throw wrongType("integers")
    }
    try append(bytes)
  }

  // MARK: The end

  /// Forces the file to the disk and gives it its name.
  ///
  /// - Throws: `invalidInput` if bytes are missing; `io`. Up to the renaming, a failure leaves nothing behind.
  package consuming func finish() throws(StoreError) {
    let path = path
    try finish { (_) throws(StoreError) in path }
  }

  /// Forces the file to the disk, shows its bytes to `name`, and gives it the path that `name` returns, in the same
  /// directory.
  consuming func finish(name: (TensorMemory) throws(StoreError) -> String) throws(StoreError) {
    guard current == tensors.count else {
      throw .invalidInput(
        "\(path): tensor \(tensors[current].name.debugDescription) has \(filled) of \(byteCounts[current]) bytes")
    }
    try flush()
    try file.sync()
    let memory = try file.map()
    let final = try name(memory)
    guard memory.isWhole else { throw .damaged("\(temporaryPath): \(SafetensorsFile.cutReason)") }
    try FileSystem.rename(temporaryPath, to: final, replacing: true)
    isFinished = true
    try FileSystem.syncDirectory(FileSystem.directory(of: final))
  }

  // MARK: Bookkeeping

  /// Writes to the file. After a failure nobody knows how far it got, so the first one is what every later call throws.
  private mutating func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
    if let failure { throw failure }
    do throws(StoreError) {
      try unsafe file.write(bytes)
    } catch {
      failure = error
      throw error
    }
  }

  private mutating func flush() throws(StoreError) {
    var full: [UInt8] = []
    swap(&full, &buffer)
    try unsafe full.span.bytes.withUnsafeBytes { (bytes) throws(StoreError) in try unsafe write(bytes) }
    full.removeAll(keepingCapacity: true)
    swap(&full, &buffer)
  }

  /// Counts `count` bytes towards the plan, or refuses them all.
  private mutating func advance(_ count: Int) throws(StoreError) {
    var rest = count
    var place = current
    var done = filled
    while rest > 0 {
      guard place < tensors.count else {
        throw .invalidInput("\(path): \(rest) bytes more than the header states")
      }
      let step = min(rest, byteCounts[place] - done)
      rest -= step
      done += step
      if done == byteCounts[place] {
        place += 1
        done = 0
      }
    }
    current = place
    filled = done
    skipFull()
  }

  /// Steps over tensors without bytes.
  private mutating func skipFull() {
    while current < tensors.count, byteCounts[current] == filled {
      current += 1
      filled = 0
    }
  }

  /// The current tensor's type, if `count` more elements fit.
  private func room(for count: Int) throws(StoreError) -> TensorDType {
    guard current < tensors.count else { throw .invalidInput("\(path): every tensor is complete") }
    let plan = tensors[current]
    let left = (byteCounts[current] - filled) / plan.dtype.byteCount
    guard count <= left else {
      throw .invalidInput(
        "\(path): \(count) numbers for tensor \(plan.name.debugDescription), which has room for \(left)")
    }
    return plan.dtype
  }

  private func put<Number: FixedWidthInteger>(
    _ integers: [Int64], as type: Number.Type, into bytes: inout [UInt8]
  ) throws(StoreError) {
    bytes.reserveCapacity(integers.count * (type.bitWidth / 8))
    for integer in integers {
      guard let number = Number(exactly: integer) else {
        let plan = tensors[current]
        throw .invalidInput(
          "\(path): tensor \(plan.name.debugDescription) of \(plan.dtype.name) cannot hold \(integer)")
      }
      Self.put(number, into: &bytes)
    }
  }

  private static func put(_ number: some FixedWidthInteger, into bytes: inout [UInt8]) {
    unsafe withUnsafeBytes(of: number.littleEndian) { unsafe bytes.append(contentsOf: $0) }
  }

  private func wrongType(_ what: String) -> StoreError {
    let plan = tensors[current]
    return .invalidInput("\(path): \(what) for tensor \(plan.name.debugDescription) of \(plan.dtype.name)")
  }

  private static func join(_ directory: String, _ name: String) -> String {
    directory.utf8.last == UInt8(ascii: "/") ? directory + name : directory + "/" + name
  }
}
