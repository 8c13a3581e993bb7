import CKVDBCommand
import CacheTypes
import Testing

struct EventParserTests {
  private func parse(_ text: String, timestamps: Bool = true) throws -> [Event] {
    try parse(Chunks(text), timestamps: timestamps)
  }

  private func parse(_ chunks: Chunks, timestamps: Bool = true) throws -> [Event] {
    var parser = EventParser(chunks, needsTimestamps: timestamps)
    var events: [Event] = []
    while let event = try parser.next() { events.append(event) }
    return events
  }

  private func event(_ user: UserID, _ item: Int64, _ timestamp: Int64? = nil) -> Event {
    Event(user: user, item: item, timestamp: timestamp)
  }

  private func failure(_ text: String, timestamps: Bool = true) -> String? {
    do {
      _ = try parse(text, timestamps: timestamps)
      return nil
    } catch let failure as CommandFailure {
      #expect(failure.status == .data)
      return failure.message
    } catch {
      return "\(error)"
    }
  }

  @Test func `columns are separated by tabs or spaces and further ones are ignored`() throws {
    let events = try parse("1\t2\t3\n  4   5 \t 6 seven 8\n")
    #expect(events == [event(1, 2, 3), event(4, 5, 6)])
  }

  @Test func `comments and blank lines are skipped`() throws {
    #expect(try parse("#user\titem\n\n \t \n  # indented\n1 2 3\n") == [event(1, 2, 3)])
  }

  @Test func `carriage returns and a missing last line feed make no difference`() throws {
    #expect(try parse("1 2 3\r\n4 5 6\r\n7 8 9") == [event(1, 2, 3), event(4, 5, 6), event(7, 8, 9)])
  }

  @Test func `a byte order mark before the first line is skipped`() throws {
    #expect(try parse("\u{FEFF}1 2 3\n") == [event(1, 2, 3)])
  }

  @Test func `users may be bytes in hexadecimal`() throws {
    #expect(try parse("x'0aFF' 2 3\nx'' 2 3\n").map(\.user) == [.bytes([0x0A, 0xFF]), .bytes([])])
  }

  @Test func `the whole range of 64 bits can be read`() throws {
    let events = try parse("-9223372036854775808 9223372036854775807 0")
    #expect(events == [Event(user: .integer(.min), item: .max, timestamp: 0)])
  }

  @Test func `without timestamps the third column may be anything or missing`() throws {
    #expect(try parse("1 2\n3 4 soon\n", timestamps: false) == [event(1, 2), event(3, 4)])
    #expect(failure("1\n", timestamps: false) == "events.tsv:1: 1 column, expected user and item")
  }

  @Test(arguments: 1...9)
  func `chunks may end anywhere`(count: Int) throws {
    let text = "# c\n11 22 33\r\nx'0a0b' 5 6\n\n-7 8 9 ten\n12345 6 7"
    #expect(try parse(Chunks(Array(text.utf8), by: count)) == (try parse(text)))
    #expect(try parse(text).count == 4)
  }

  @Test(arguments: [
    ("1 2 3\n4\n", "events.tsv:2: 1 column, expected user, item and timestamp"),
    ("# a\n\n4 5\n", "events.tsv:3: 2 columns, expected user, item and timestamp: the store keeps timestamps"),
    ("one 2 3", "events.tsv:1: user 'one' is not an integer"),
    ("1 2x 3", "events.tsv:1: item '2x' is not an integer"),
    ("1 2 3.5", "events.tsv:1: timestamp '3.5' is not an integer"),
    ("1 - 3", "events.tsv:1: item '-' is not an integer"),
    ("1 +2 3", "events.tsv:1: item '+2' is not an integer"),
    ("1 9223372036854775808 3", "events.tsv:1: item '9223372036854775808' does not fit 64 bits"),
    ("-9223372036854775809 2 3", "events.tsv:1: user '-9223372036854775809' does not fit 64 bits"),
    ("1\u{0} 2 3", "events.tsv:1: user '1\\x00' is not an integer"),
    ("x'0 2 3", "events.tsv:1: user 'x'0' is neither an integer nor at most 255 bytes as x'0a1b'"),
    ("x'0' 2 3", "events.tsv:1: user 'x'0'' is neither an integer nor at most 255 bytes as x'0a1b'"),
    ("1 \u{1B}[2J 3", "events.tsv:1: item '\\x1b[2J' is not an integer"),
  ])
  func `a broken line is named with its reason`(text: String, message: String) {
    #expect(failure(text) == message)
  }

  @Test func `a user of 256 bytes is refused and one of 255 is not`() throws {
    let digits = String(repeating: "ab", count: 255)
    #expect(try parse("x'\(digits)' 1 2").first?.user == .bytes(Array(repeating: 0xAB, count: 255)))
    let message = try #require(failure("x'\(digits)ab' 1 2"))
    #expect(message.hasPrefix("events.tsv:1: user 'x'abab") && message.hasSuffix("255 bytes as x'0a1b'"))
    #expect(message.count < 150)
  }

  @Test func `an overlong line is refused with or without its end`() {
    let long = String(repeating: "1", count: EventParser<Chunks>.lineByteLimit + 1)
    let expected = "events.tsv:2: the line is longer than 65536 bytes"
    #expect(failure("1 2 3\n\(long)\n1 2 3") == expected)
    #expect(failure("1 2 3\n\(long)") == expected)
    #expect(failure("1 2 3\n1 2 3 " + String(repeating: " ", count: 65_500)) == nil)
  }

  @Test func `random bytes are refused without a trap`() {
    var random = SplitMix64(seed: 3)
    let alphabet = Array("0123456789-x' \t\n\r#\u{0}ab".utf8)
    for _ in 0..<2_000 {
      let bytes = (0..<random.index(60)).map { _ in
        random.index(20) == 0 ? UInt8(random.index(256)) : alphabet[random.index(alphabet.count)]
      }
      let whole = Result { try parse(Chunks([bytes])) }
      let split = Result { try parse(Chunks(bytes, by: 1 + random.index(7))) }
      #expect((try? whole.get()) == (try? split.get()))
    }
  }
}
