import CKVDBCommand
import CacheTypes
import Testing

struct TextTests {
  @Test(arguments: [
    ("3..<10", 3..<10), ("3...9", 3..<10), ("3...", 3..<Int.max), ("3..<", 3..<Int.max), ("..<10", 0..<10),
    ("...9", 0..<10), ("3", 3..<4), ("5..<5", 5..<5), ("0...0", 0..<1),
  ])
  func `a range is read`(text: String, range: Range<Int>) { #expect(PositionRange(text)?.range == range) }

  @Test(arguments: [
    "", "-1", "a", "5..<3", "5...3", "1..2", "1..<2..<3", " 1", "1 ", "+1", "0x1", "99999999999999999999",
    "9223372036854775807", "...9223372036854775807", "1....2", "٣",
  ])
  func `what is no range is refused`(text: String) { #expect(PositionRange(text) == nil) }

  @Test func `numbers are grouped by thousands`() {
    #expect([0, 7, 999, 1_000, -1_234_567].map { NumberText.grouped($0) } == ["0", "7", "999", "1,000", "-1,234,567"])
    #expect(NumberText.grouped(.min) == "-9,223,372,036,854,775,808")
  }

  @Test func `fractions are rounded`() {
    #expect(NumberText.fixed(1.005, 1) == "1.0")
    #expect(NumberText.fixed(0.999, 2) == "1.00")
    #expect(NumberText.fixed(-0.001, 2) == "0.00")
    #expect(NumberText.fixed(12_345.678, 2) == "12,345.68")
    #expect(NumberText.fixed(.nan, 2) == "-")
    #expect(NumberText.fixed(1e30, 2) == "1e+30")
  }

  @Test func `sizes and times take the unit that suits them`() {
    #expect(
      [0, 999, 1_000, 999_949, 999_950, 1_500_000_000].map { NumberText.bytes($0) }
        == ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 GB"])
    #expect(
      [0, 3.25e-6, 0.999e-3, 0.0413, 0.99999, 75].map { NumberText.time($0) }
        == ["0.0 us", "3.3 us", "999.0 us", "41.3 ms", "1.0 s", "75.0 s"])
    #expect(
      [0, 59.4, 60, 3_725, .infinity].map { NumberText.clock($0) } == ["0:00", "0:59", "1:00", "1:02:05", "99:59:59"])
  }

  @Test func `progress shows rate and time left only once they mean something`() {
    #expect(ProgressLine.text(10, "events", share: nil, seconds: 0.1) == "10 events")
    #expect(ProgressLine.text(5_000, "events", share: 0.25, seconds: 10) == "5,000 events  500/s  25 %  0:30 left")
    #expect(ProgressLine.text(5_000, "events", share: 7, seconds: 10) == "5,000 events  500/s  100 %  0:00 left")
  }

  @Test func `the closing line counts what it says`() {
    #expect(Tally.text(1, "event", users: 1, skipped: 0, seconds: 0.5) == "1 event of 1 user, 0.50 s, 2 events/s")
    #expect(
      Tally.text(4_000, "row", users: 20, skipped: 1_500, seconds: 2)
        == "4,000 rows of 20 users, 1,500 of them stored before, 2.00 s, 2,000 rows/s")
    #expect(
      Tally("row").completed(CommandFailure(.data, "f: bad")).message == "f: bad (nothing was stored before that)")
  }

  @Test func `strings are escaped as JSON asks`() {
    #expect(JSONText.string("a\"b\\c\n\u{1}\u{1F}é") == "\"a\\\"b\\\\c\\n\\u0001\\u001fé\"")
    #expect(JSONText.user(.bytes([1, 255])) == "\"x'01ff'\"")
    #expect(JSONText.user(-5) == "-5")
    #expect(JSONText.number(.infinity) == "null")
  }

  /// Every case of `StoreError`, what is said and which code it ends with.
  @Test(arguments: [
    (StoreError.notAStore(path: "p", reason: "r"), FailureStatus.data, "p: not a store: r"),
    (.alreadyExists(path: "p"), .data, "p: already exists"),
    (
      .newerFormat(path: "p", found: 3, supported: 1), .data,
      "p: written in format version 3, this ckvdb reads up to version 1"
    ),
    (.invalidModel(path: "p", reason: "r"), .data, "p: invalid model: r"),
    (.invalidInput("r"), .data, "s: r"),
    (.invalidInput("s: r"), .data, "s: r"),
    (.damaged("r"), .data, "s: damaged: r"),
    (.damaged("s/users.sqlite: r: t"), .data, "s/users.sqlite: damaged: r: t"),
    (
      .rolledBack(path: "p", commits: 2), .data,
      "p: rolled back by 2 commits: --accept-rollback goes on without what is lost"
    ),
    (.unknownUser(5), .data, "s: user 5 is unknown"),
    (.staleUser(.bytes([1])), .data, "s: user x'01' is stale: the rows belong to another model"),
    (
      .positionConflict(user: 5, expected: 3, length: 2), .data,
      "s: user 5 has 2 positions, so the next is 2, not 3 as stated"
    ),
    (.io(operation: "open", path: "p", code: 2), .inputOutput, "p: open: No such file or directory"),
    (.database(operation: "commit", code: 13, message: "full"), .inputOutput, "s: commit: full (SQLite code 13)"),
    (.database(operation: "commit", code: 517, message: "busy"), .busy, "s: commit: busy (SQLite code 517)"),
    (.database(operation: "read", code: 11, message: "malformed"), .data, "s: read: malformed (SQLite code 11)"),
    (.busy("r"), .busy, "s: busy: r"),
    (.poisoned("r"), .inputOutput, "s: an earlier write failed, its outcome is unknown: r"),
    (.readOnly, .data, "s: opened for reading only"),
    (.closed, .inputOutput, "s: the store was closed"),
  ])
  func `an error of the store has a text and a code`(error: StoreError, status: FailureStatus, message: String) {
    #expect(ErrorText.failure(error, at: "s") == CommandFailure(status, message))
  }

  @Test func `made-up data depend on the seed alone`() throws {
    let events = DemoEvents.make(users: 50, events: 1_000, seed: 4)
    #expect(events.count == 1_000)
    #expect(events == DemoEvents.make(users: 50, events: 1_000, seed: 4))
    #expect(events != DemoEvents.make(users: 50, events: 1_000, seed: 5))
    #expect(zip(events, events.dropFirst()).allSatisfy { $0.timestamp! <= $1.timestamp! })
    #expect(events.allSatisfy { (0..<2_000).contains($0.item) })
    // SplitMix64's published first number for the seed 1234567.
    var random = SplitMix64(seed: 1_234_567)
    #expect(random.next() == 6_457_827_717_110_365_317)
  }
}
