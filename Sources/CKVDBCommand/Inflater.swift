/// Decompresses gzip on the fly, member after member, over the system's zlib. What does not start as gzip passes
/// through untouched. A stream that ends early or is damaged is an error: what was read before may have been handed
/// out, the end never is.

internal import CZlib

/// A chunk reader that hands out the content of another, inflated if that one is gzip.
@safe package final class Inflater<Source: ChunkReader>: ChunkReader {
  package private(set) var source: Source
  package var name: String { source.name }

  private enum State { case start, plain, member, betweenMembers, end }
  private var state = State.start
  /// Compressed bytes not yet consumed, from `inputStart` on.
  private var input: [UInt8] = []
  private var inputStart = 0
  /// At a place of its own: zlib remembers the address.
  private let stream: UnsafeMutablePointer<z_stream>
  private var isStreamOpen = false
  /// Compressed bytes consumed so far: the place that messages name.
  private var consumed = 0
  private let outputByteCount: Int

  package init(_ source: Source, outputByteCount: Int = 1 << 18) {
    self.source = source
    self.outputByteCount = outputByteCount
    unsafe stream = .allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
  }

  deinit {
    if isStreamOpen { unsafe inflateEnd(stream) }
    unsafe stream.deinitialize(count: 1)
    unsafe stream.deallocate()
  }

  package func read() throws(CommandFailure) -> [UInt8] {
    while true {
      switch state {
      case .start:
        try fill(atLeast: 2)
        if startsMember { try open() } else { state = .plain }
      case .plain:
        let rest = Array(input[inputStart...])
        input = []
        inputStart = 0
        return rest.isEmpty ? try source.read() : rest
      case .member:
        let output = try inflateSome()
        if !output.isEmpty { return output }
      case .betweenMembers:
        try skipPadding()
      case .end:
        return []
      }
    }
  }

  private var startsMember: Bool {
    input.count - inputStart >= 2 && input[inputStart] == 0x1F && input[inputStart + 1] == 0x8B
  }

  /// Opens the stream for the member that starts at the input's start.
  private func open() throws(CommandFailure) {
    let wrapsGzip: Int32 = 16 + MAX_WBITS
    let code =
      if isStreamOpen { unsafe inflateReset2(stream, wrapsGzip) } else {
        unsafe inflateInit2_(stream, wrapsGzip, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
      }
    guard code == Z_OK else { throw failure("zlib refuses to start (code \(code))") }
    isStreamOpen = true
    state = .member
  }

  /// Inflates into one chunk; an empty result means that the member ended or that more input is needed.
  private func inflateSome() throws(CommandFailure) -> [UInt8] {
    try fill(atLeast: 1)
    guard inputStart < input.count else { throw failure("the gzip stream ends early") }
    var code: Int32 = Z_OK
    var used = 0
    let output = unsafe [UInt8](unsafeUninitializedCapacity: outputByteCount) { buffer, count in
      unsafe input.withUnsafeMutableBufferPointer { bytes in
        let available = bytes.count - inputStart
        unsafe stream.pointee.next_in = bytes.baseAddress.map { unsafe $0 + inputStart }
        unsafe stream.pointee.avail_in = UInt32(available)
        unsafe stream.pointee.next_out = buffer.baseAddress
        unsafe stream.pointee.avail_out = UInt32(buffer.count)
        code = unsafe inflate(stream, Z_NO_FLUSH)
        used = unsafe available - Int(stream.pointee.avail_in)
        count = unsafe buffer.count - Int(stream.pointee.avail_out)
      }
    }
    inputStart += used
    consumed += used
    switch code {
    case Z_OK, Z_BUF_ERROR: break
    case Z_STREAM_END: state = .betweenMembers
    default: throw failure("the gzip stream is damaged (\(zlibMessage))")
    }
    return output
  }

  /// After a member: another member, zeros up to the end, or the end.
  private func skipPadding() throws(CommandFailure) {
    try fill(atLeast: 2)
    if startsMember { return try open() }
    while inputStart < input.count {
      guard input[inputStart] == 0 else { throw failure("bytes that are no gzip follow the gzip stream") }
      inputStart += 1
      consumed += 1
      try fill(atLeast: 1)
    }
    state = .end
  }

  /// Reads on until `count` bytes are there or the source ends.
  private func fill(atLeast count: Int) throws(CommandFailure) {
    while input.count - inputStart < count {
      let chunk = try source.read()
      if chunk.isEmpty { return }
      if inputStart == input.count { input = chunk } else { input = Array(input[inputStart...]) + chunk }
      inputStart = 0
    }
  }

  private var zlibMessage: String {
    guard let message = unsafe stream.pointee.msg else { return "no reason given" }
    return unsafe String(cString: message)
  }

  private func failure(_ reason: String) -> CommandFailure {
    CommandFailure(.data, "\(name): byte \(consumed): \(reason)")
  }
}
