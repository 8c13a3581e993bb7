import CKVDBCommand
import CZlib
import Testing

struct InflaterTests {
  /// The bytes as one gzip member.
  static func gzip(_ bytes: [UInt8]) -> [UInt8] {
    var stream = z_stream()
    var output = [UInt8](repeating: 0, count: bytes.count * 2 + 1_000)
    deflateInit2_(
      &stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    var input = bytes
    let count = input.withUnsafeMutableBufferPointer { source in
      output.withUnsafeMutableBufferPointer { target in
        stream.next_in = source.baseAddress
        stream.avail_in = UInt32(source.count)
        stream.next_out = target.baseAddress
        stream.avail_out = UInt32(target.count)
        deflate(&stream, Z_FINISH)
        return target.count - Int(stream.avail_out)
      }
    }
    deflateEnd(&stream)
    return Array(output[..<count])
  }

  private func inflate(_ chunks: Chunks, outputByteCount: Int = 1 << 18) throws -> [UInt8] {
    let inflater = Inflater(chunks, outputByteCount: outputByteCount)
    var bytes: [UInt8] = []
    while case let chunk = try inflater.read(), !chunk.isEmpty { bytes += chunk }
    #expect(try inflater.read().isEmpty, "the end stays the end")
    return bytes
  }

  private func failure(_ bytes: [UInt8]) -> String? {
    do {
      _ = try inflate(Chunks([bytes]))
      return nil
    } catch {
      return (error as? CommandFailure)?.message ?? "\(error)"
    }
  }

  private let text = Array((0..<5_000).map { "\($0 % 97)\t\($0 * 7919 % 1000)\t\($0)\n" }.joined().utf8)

  @Test(arguments: [1, 2, 3, 100, 1 << 20])
  func `gzip is inflated whatever the chunks`(count: Int) throws {
    #expect(try inflate(Chunks(Self.gzip(text), by: count)) == text)
    #expect(try inflate(Chunks(Self.gzip(text), by: count), outputByteCount: 1_000) == text)
  }

  @Test(arguments: [1, 7, 1 << 20])
  func `what is not gzip passes through`(count: Int) throws {
    #expect(try inflate(Chunks(text, by: count)) == text)
    for short in [[], [0x1F], [0x1F, 0x8C], [0x31]] as [[UInt8]] { #expect(try inflate(Chunks([short])) == short) }
  }

  @Test(arguments: [1, 50, 1 << 20])
  func `members follow one another, zeros may follow the last`(count: Int) throws {
    let members = Self.gzip(text) + Self.gzip([]) + Self.gzip([1, 2, 3]) + [0, 0, 0, 0]
    #expect(try inflate(Chunks(members, by: count)) == text + [1, 2, 3])
  }

  @Test func `a stream that ends early is refused at every length`() {
    let whole = Self.gzip(Array(text.prefix(300)))
    for length in 2..<whole.count {
      #expect(failure(Array(whole[..<length])) == "events.tsv: byte \(length): the gzip stream ends early")
    }
  }

  @Test func `bytes behind the stream are refused`() {
    let member = Self.gzip([1, 2, 3])
    #expect(
      failure(member + [0, 9]) == "events.tsv: byte \(member.count + 1): bytes that are no gzip follow the gzip stream")
  }

  @Test func `a flipped bit never changes what is read without an error`() {
    let whole = Self.gzip(Array(text.prefix(2_000)))
    for place in 10..<whole.count {
      var damaged = whole
      damaged[place] ^= 1 << UInt8(place % 8)
      // A few bits between the last block and the checksum mean nothing.
      if let read = try? inflate(Chunks([damaged])) { #expect(read == Array(text.prefix(2_000)), "byte \(place)") }
    }
  }
}
