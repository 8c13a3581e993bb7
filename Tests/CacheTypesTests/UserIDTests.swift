import CacheTypes
import Testing

struct UserIDTests {
  static let samples: [UserID] = [
    0, 1, -1, 42, .integer(.max), .integer(.min), .bytes([]), .bytes([0]), .bytes([0, 0]), .bytes([10, 0x1B]),
    .bytes([0x7F]), .bytes([0x80]), .bytes([0xFF, 0]), .bytes(Array("user".utf8)),
    .bytes([UInt8](repeating: 255, count: 255)),
  ]

  @Test func `the text form comes back`() {
    for user in Self.samples { #expect(UserID(user.description) == user) }
    #expect(UserID.integer(-17).description == "-17")
    #expect(UserID.bytes([0x0A, 0x1B]).description == "x'0a1b'")
    #expect(UserID("x'0A1B'") == .bytes([0x0A, 0x1B]))
    #expect(UserID("x''") == .bytes([]))
  }

  @Test(arguments: [
    "", " ", "x", "x'", "x'0'", "x'0g'", "x'0a1b", "0a1b'", "'0a'", "X'0a'", "1.5", "1e3", "0x10", " 7", "7 ", "--7",
    "9223372036854775808", "-9223372036854775809", "user", "x'é'", "x'\u{301}0a'", "٣",
  ])
  func `any other text is refused`(text: String) { #expect(UserID(text) == nil) }

  @Test(arguments: ["+7", "007", "-0", "00", "-07"])
  func `a second spelling of an integer is refused, so that two ids never meet`(text: String) {
    #expect(UserID(text) == nil)
  }

  @Test func `an id of more than 255 bytes is refused`() {
    #expect(UserID("x'" + String(repeating: "ab", count: 255) + "'") != nil)
    #expect(UserID("x'" + String(repeating: "ab", count: 256) + "'") == nil)
  }

  @Test func `integers come before bytes, bytes in the order of their values, shorter ones first`() {
    let ordered: [UserID] = [
      .integer(.min), -1, 0, 7, .integer(.max), .bytes([]), .bytes([0]), .bytes([0, 0]), .bytes([0, 255]), .bytes([1]),
      .bytes([127, 9]), .bytes([128]), .bytes([255]), .bytes([255, 0]),
    ]
    for (place, user) in ordered.enumerated() {
      for (otherPlace, other) in ordered.enumerated() {
        #expect((user < other) == (place < otherPlace))
        #expect((user == other) == (place == otherPlace))
      }
    }
    #expect(ordered.reversed().sorted() == ordered)
  }

  @Test func `an integer never meets bytes`() {
    #expect(UserID.integer(7) != .bytes([7]))
    #expect(Set<UserID>([7, .bytes([7]), .bytes(Array("7".utf8)), .bytes([7, 0, 0, 0, 0, 0, 0, 0])]).count == 4)
  }

  @Test func `ids that are the same text in another normal form stay apart`() {
    let (composed, decomposed) = ("\u{E9}", "e\u{301}")
    #expect(composed == decomposed)
    #expect(UserID.bytes(Array(composed.utf8)) != .bytes(Array(decomposed.utf8)))
  }

  @Test func `hexadecimal digits come back`() {
    let bytes = (UInt8.min...UInt8.max).map { $0 }
    #expect(Hex.decode(Hex.encode(bytes)) == bytes)
    #expect(Hex.decode(Hex.encode(bytes).uppercased()) == bytes)
    for wrong in ["0", "0g", "g0", " 0", "0x", "٣٣"] { #expect(Hex.decode(wrong) == nil) }
  }
}
