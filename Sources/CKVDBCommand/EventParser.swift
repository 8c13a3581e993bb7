/// Reads lines `user item timestamp ...` from a stream of bytes. It works on bytes, line by line, and holds one line
/// and one chunk at a time, so that a stream without end takes bounded memory. Every broken line is an error that names
/// the stream and the line; a line is never skipped in silence, unless it is blank or a comment.

package import CacheTypes
internal import Glibc

/// One line of an event stream.
package struct Event: Hashable, Sendable {
  package var user: UserID
  package var item: Int64
  /// `nil` if the parser was not asked for timestamps.
  package var timestamp: Int64?

  package init(user: UserID, item: Int64, timestamp: Int64?) {
    self.user = user
    self.item = item
    self.timestamp = timestamp
  }
}

/// Parses events from chunks of bytes.
package struct EventParser<Source: ChunkReader> {
  package static var lineByteLimit: Int { 1 << 16 }

  /// The number of the line that `next` returned last, from 1 on.
  package private(set) var lineNumber = 0
  package var name: String { source.name }

  private var source: Source
  private let needsTimestamps: Bool
  /// What was read and not yet parsed, from `start` on.
  private var buffer: [UInt8] = []
  private var start = 0
  private var isAtEnd = false

  /// - Parameter needsTimestamps: whether the third column is required and read; it is ignored otherwise.
  package init(_ source: Source, needsTimestamps: Bool) {
    self.source = source
    self.needsTimestamps = needsTimestamps
  }

  /// The next event; `nil` at the end of the stream.
  package mutating func next() throws(CommandFailure) -> Event? {
    while let line = try nextLine() {
      lineNumber += 1
      if let event = try parse(line) { return event }
    }
    return nil
  }

  /// The failure of the line read last.
  package func failure(_ reason: String) -> CommandFailure {
    CommandFailure(.data, "\(name):\(lineNumber): \(reason)")
  }

  // MARK: Lines

  /// The bounds of the next line in `buffer`, without its line feed.
  private mutating func nextLine() throws(CommandFailure) -> Range<Int>? {
    var searched = start
    while true {
      if let end = lineFeed(from: searched) {
        defer { start = end + 1 }
        return start..<end
      }
      let pending = buffer.count - start
      guard pending <= Self.lineByteLimit else {
        lineNumber += 1
        throw failure("the line is longer than \(Self.lineByteLimit) bytes")
      }
      let chunk = isAtEnd ? [] : try source.read()
      guard !chunk.isEmpty else {
        isAtEnd = true
        guard pending > 0 else { return nil }
        defer { start = buffer.count }
        return start..<buffer.count
      }
      if pending == 0 { buffer = chunk } else { buffer = Array(buffer[start...]) + chunk }
      start = 0
      searched = pending
    }
  }

  private func lineFeed(from place: Int) -> Int? {
    guard place < buffer.count else { return nil }
    return unsafe buffer.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress, let hit = unsafe memchr(base + place, 0x0A, bytes.count - place)
      else { return nil }
      return unsafe UnsafeRawPointer(hit) - base
    }
  }

  // MARK: Columns

  private mutating func parse(_ line: Range<Int>) throws(CommandFailure) -> Event? {
    guard line.count <= Self.lineByteLimit else {
      throw failure("the line is longer than \(Self.lineByteLimit) bytes")
    }
    var cursor = line.lowerBound
    if lineNumber == 1, buffer[line].starts(with: [0xEF, 0xBB, 0xBF]) { cursor += 3 }
    guard let user = column(&cursor, line.upperBound) else { return nil }
    if buffer[user.lowerBound] == UInt8(ascii: "#") { return nil }
    guard let item = column(&cursor, line.upperBound) else {
      throw failure("1 column, expected \(needsTimestamps ? "user, item and timestamp" : "user and item")")
    }
    var event = Event(user: try userID(user), item: try integer(item, "item"), timestamp: nil)
    if needsTimestamps {
      guard let timestamp = column(&cursor, line.upperBound) else {
        throw failure("2 columns, expected user, item and timestamp: the store keeps timestamps")
      }
      event.timestamp = try integer(timestamp, "timestamp")
    }
    return event
  }

  /// The next run of bytes between spaces, tabs and carriage returns.
  private func column(_ cursor: inout Int, _ end: Int) -> Range<Int>? {
    while cursor < end, Self.isBlank(buffer[cursor]) { cursor += 1 }
    let first = cursor
    while cursor < end, !Self.isBlank(buffer[cursor]) { cursor += 1 }
    return first < cursor ? first..<cursor : nil
  }

  @inline(__always)
  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }

  private func userID(_ column: Range<Int>) throws(CommandFailure) -> UserID {
    if buffer[column.lowerBound] != UInt8(ascii: "x") { return .integer(try integer(column, "user")) }
    let text = String(decoding: buffer[column], as: UTF8.self)
    guard let user = UserID(text) else {
      throw failure(
        "user \(quoted(column)) is neither an integer nor at most \(UserID.byteCountLimit) bytes as x'0a1b'")
    }
    return user
  }

  private func integer(_ column: Range<Int>, _ what: String) throws(CommandFailure) -> Int64 {
    var cursor = column.lowerBound
    let isNegative = buffer[cursor] == UInt8(ascii: "-")
    if isNegative { cursor += 1 }
    guard cursor < column.upperBound else { throw notAnInteger(column, what) }
    // Built downwards, since there is one more negative number than positive ones.
    var value: Int64 = 0
    while cursor < column.upperBound {
      let digit = buffer[cursor] &- UInt8(ascii: "0")
      guard digit <= 9 else { throw notAnInteger(column, what) }
      let (shifted, overflowed) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflowedToo) = shifted.subtractingReportingOverflow(Int64(digit))
      guard !overflowed, !overflowedToo else { throw failure("\(what) \(quoted(column)) does not fit 64 bits") }
      value = sum
      cursor += 1
    }
    if isNegative { return value }
    guard value != .min else { throw failure("\(what) \(quoted(column)) does not fit 64 bits") }
    return -value
  }

  private func notAnInteger(_ column: Range<Int>, _ what: String) -> CommandFailure {
    failure("\(what) \(quoted(column)) is not an integer")
  }

  /// The column as it can be shown on a terminal: printable ASCII as it is, the rest escaped, the end cut.
  private func quoted(_ column: Range<Int>) -> String {
    let limit = 40
    var text = ""
    for byte in buffer[column].prefix(limit) {
      if 0x20 < byte, byte < 0x7F {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "\\x" + Hex.encode([byte])
      }
    }
    return "'\(text)\(column.count > limit ? "..." : "")'"
  }
}
