/// Files made by hand to break a reader: each has to be refused, for the reason that it was made for.

import CacheTypes
import PoolStorage
import Testing

struct Attack: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]
  let reason: String
  var testDescription: String { name }

  init(_ name: String, _ bytes: [UInt8], _ reason: String) {
    self.name = name
    self.bytes = bytes
    self.reason = reason
  }

  /// A file of one entry `a` with that text as its value, and `data` zero bytes.
  init(_ name: String, entry: String, data: Int = 4, _ reason: String) {
    self.init(name, rawFile("{\"a\":\(entry)}", dataByteCount: data), reason)
  }

  /// A file of one F32 tensor with that text as its shape.
  init(_ name: String, shape: String, _ reason: String) {
    self.init(name, entry: #"{"dtype":"F32","shape":\#(shape),"data_offsets":[0,4]}"#, reason)
  }

  /// A file of one F32 tensor `[1]` with that text as its offsets.
  init(_ name: String, offsets: String, data: Int = 4, _ reason: String) {
    self.init(name, entry: #"{"dtype":"F32","shape":[1],"data_offsets":\#(offsets)}"#, data: data, reason)
  }

  /// A header that is these bytes between two halves of text.
  init(_ name: String, nameBytes: [UInt8], _ reason: String) {
    let header =
      Array("{\"".utf8) + nameBytes + Array("\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}".utf8)
    self.init(name, rawFile(header), reason)
  }
}

private func u8(_ name: String, _ begin: Int, _ end: Int) -> String {
  #""\#(name)":{"dtype":"U8","shape":[\#(end - begin)],"data_offsets":[\#(begin),\#(end)]}"#
}

let attacks: [Attack] = [
  // The length.
  Attack("empty file", [], "expected at least 8"),
  Attack("seven bytes", Array(repeating: 0, count: 7), "expected at least 8"),
  Attack("length of nothing", rawFile(""), "a header of 0 bytes"),
  Attack("length one beyond the file", rawFile("{}", statedLength: 3), "2 bytes follow"),
  Attack("length just beyond the limit", rawFile("{}", statedLength: 100_000_001), "the limit is 100000000"),
  Attack("length at the limit, short file", rawFile("{}", statedLength: 100_000_000), "2 bytes follow"),
  Attack("length 2^63", rawFile("{}", statedLength: 1 << 63), "the limit is"),
  Attack("length 2^64 - 1", rawFile("{}", statedLength: .max), "the limit is"),
  Attack("length cuts the object", rawFile("{}", statedLength: 1), "the header ends"),
  // The outer object.
  Attack("space before the brace", rawFile(" {}"), "byte 8: saw ' ', expected '{'"),
  Attack("byte order mark", rawFile([0xEF, 0xBB, 0xBF] + Array("{}".utf8)), "saw byte 0xef, expected '{'"),
  Attack("array outside", rawFile("[]"), "saw '[', expected '{'"),
  Attack("only spaces", rawFile("        "), "expected '{'"),
  Attack("zero byte first", rawFile([0, 0x7B, 0x7D]), "saw byte 0x0"),
  Attack("no closing brace", rawFile("{"), "the header ends, expected a string"),
  Attack("newline as padding", rawFile("{}\n"), "only spaces behind"),
  Attack("zero byte as padding", rawFile("{}\0"), "only spaces behind"),
  Attack("text behind the brace", rawFile("{} x"), "byte 11: saw 'x', expected only spaces behind"),
  Attack("a second object", rawFile("{}{}"), "only spaces behind"),
  Attack("trailing comma", rawFile("{\(u8("a", 0, 1)),}", dataByteCount: 1), "expected a string"),
  Attack("leading comma", rawFile("{,\(u8("a", 0, 1))}", dataByteCount: 1), "expected a string"),
  Attack("no comma", rawFile("{\(u8("a", 0, 1))\(u8("b", 1, 2))}", dataByteCount: 2), "expected ',' or '}'"),
  Attack("no colon", rawFile(#"{"a"{}}"#), "saw '{', expected ':'"),
  Attack("a number as name", rawFile("{1:{}}"), "expected a string"),
  Attack("single quotes", rawFile("{'a':{}}"), "saw ''', expected a string"),
  Attack("a comment", rawFile("{/**/}"), "saw '/', expected a string"),
  Attack("zero byte between tokens", rawFile("{\0}"), "saw byte 0x0"),
  Attack("form feed between tokens", rawFile("{\u{C}}"), "saw byte 0xc"),
  Attack("no-break space between tokens", rawFile("{\u{A0}}"), "saw byte 0xc2"),
  Attack(
    "many open objects", rawFile(String(repeating: #"{"a":"#, count: 200_000)), "unknown field"),
  // Strings.
  Attack("name without an end", rawFile(#"{"a"#), "a string without an end"),
  Attack("escape without an end", rawFile(#"{"a\"#), "expected an escape"),
  Attack("newline in a name", nameBytes: [0x0A], "no control character"),
  Attack("zero byte in a name", nameBytes: [0x00], "no control character"),
  Attack("lone byte 0xFF in a name", nameBytes: [0xFF], "not UTF-8"),
  Attack("overlong UTF-8 in a name", nameBytes: [0xC0, 0x80], "not UTF-8"),
  Attack("surrogate as UTF-8 in a name", nameBytes: [0xED, 0xA0, 0x80], "not UTF-8"),
  Attack("cut UTF-8 in a name", nameBytes: [0xE2, 0x82], "not UTF-8"),
  Attack("beyond Unicode in a name", nameBytes: [0xF4, 0x90, 0x80, 0x80], "not UTF-8"),
  Attack("unknown escape", nameBytes: Array(#"\x"#.utf8), "expected an escape of JSON"),
  Attack("three digits", nameBytes: Array(#"\u12"#.utf8), "four hexadecimal digits"),
  Attack("a letter beyond f", nameBytes: Array(#"\u12g4"#.utf8), "four hexadecimal digits"),
  Attack("high surrogate alone", nameBytes: Array(#"\ud83d"#.utf8), "half a surrogate pair"),
  Attack("high surrogate, then a letter", nameBytes: Array(#"\ud83d\u0041"#.utf8), "half a surrogate pair"),
  Attack("high surrogate twice", nameBytes: Array(#"\ud83d\ud83d"#.utf8), "half a surrogate pair"),
  Attack("low surrogate alone", nameBytes: Array(#"\ude00\ud83d"#.utf8), "half a surrogate pair"),
  Attack("high surrogate, then another escape", nameBytes: Array(#"\ud83d\n"#.utf8), "expected 'u'"),
  // Names.
  Attack(
    "a name twice", rawFile("{\(u8("a", 0, 1)),\(u8("a", 1, 2))}", dataByteCount: 2), #"the name "a" appears twice"#),
  Attack(
    "a name twice, once escaped", rawFile("{\(u8("a", 0, 1)),\(u8("\\u0061", 1, 2))}", dataByteCount: 2),
    #"the name "a" appears twice"#),
  Attack(
    "metadata twice", rawFile(#"{"__metadata__":{},"__metadata__":{}}"#), #"the name "__metadata__" appears twice"#),
  // Entries.
  Attack(
    "dtype twice", entry: #"{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}"#, "states dtype twice"),
  Attack("shape twice", entry: #"{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}"#, "states shape twice"),
  Attack(
    "offsets twice", entry: #"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4]}"#,
    "states data_offsets twice"),
  Attack("unknown field", entry: #"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}"#, #"unknown field "x""#),
  Attack("no dtype", entry: #"{"shape":[1],"data_offsets":[0,4]}"#, "has no dtype"),
  Attack("no shape", entry: #"{"dtype":"F32","data_offsets":[0,4]}"#, "has no shape"),
  Attack("no offsets", entry: #"{"dtype":"F32","shape":[1]}"#, "has no data_offsets"),
  Attack("empty entry", entry: "{}", "expected a string"),
  Attack("null entry", entry: "null", "saw 'n', expected '{'"),
  Attack("array entry", entry: "[]", "saw '[', expected '{'"),
  Attack("entry without an end", rawFile(#"{"a":{"dtype":"F32""#), "the header ends, expected ',' or '}'"),
  Attack("number as dtype", entry: #"{"dtype":32,"shape":[1],"data_offsets":[0,4]}"#, "expected a string"),
  Attack("unknown dtype", entry: #"{"dtype":"F31","shape":[1],"data_offsets":[0,4]}"#, #"unknown dtype "F31""#),
  Attack(
    "dtype in small letters", entry: #"{"dtype":"f32","shape":[1],"data_offsets":[0,4]}"#, #"unknown dtype "f32""#),
  Attack("dtype of four bits", entry: #"{"dtype":"F4","shape":[8],"data_offsets":[0,4]}"#, #"unknown dtype "F4""#),
  // Shapes.
  Attack("negative length", shape: "[-1]", "saw '-', expected a non-negative integer"),
  Attack("plus sign", shape: "[+1]", "saw '+'"),
  Attack("negative zero", shape: "[-0]", "saw '-'"),
  Attack("fraction", shape: "[1.0]", "saw '.', expected ',' or ']'"),
  Attack("exponent", shape: "[1e0]", "saw 'e', expected ',' or ']'"),
  Attack("leading zero", shape: "[01]", "leading zero"),
  Attack("text as length", shape: #"["1"]"#, "expected a non-negative integer"),
  Attack("null length", shape: "[null]", "expected a non-negative integer"),
  Attack("nested shape", shape: "[[1]]", "saw '[', expected a non-negative integer"),
  Attack("a hundred thousand open arrays", shape: String(repeating: "[", count: 100_000), "saw '['"),
  Attack("trailing comma in a shape", shape: "[1,]", "expected a non-negative integer"),
  Attack("number as shape", shape: "1", "expected '['"),
  Attack("shape without an end", rawFile(#"{"a":{"dtype":"F32","shape":[1"#), "expected ',' or ']'"),
  Attack(
    "65 dimensions", shape: "[" + Array(repeating: "1", count: 65).joined(separator: ",") + "]", "at most 64 dimensions"
  ),
  Attack("dimension 2^63", shape: "[9223372036854775808]", "does not fit 63 bits"),
  Attack("length 2^64 + 1", shape: "[18446744073709551617]", "does not fit 63 bits"),
  Attack("length of a thousand digits", shape: "[" + String(repeating: "9", count: 1000) + "]", "does not fit 63 bits"),
  Attack("product 2^64", shape: "[4294967296,4294967296]", "does not fit 63 bits"),
  Attack("product wraps to 1", shape: "[274177,67280421310721]", "does not fit 63 bits"),
  Attack("bytes wrap, product does not", shape: "[4611686018427387905]", "does not fit 63 bits"),
  Attack("overflow beside a zero", shape: "[0,4611686018427387904,4]", "does not fit 63 bits"),
  Attack("shape larger than the bytes", shape: "[2]", "has 4 bytes, F32 [2] needs 8"),
  Attack("shape smaller than the bytes", shape: "[0]", "has 4 bytes, F32 [0] needs 0"),
  // Places.
  Attack("one offset", offsets: "[0]", "has 1 data_offsets, expected 2"),
  Attack("no offset", offsets: "[]", "has 0 data_offsets, expected 2"),
  Attack("three offsets", offsets: "[0,4,4]", "at most 2 offsets"),
  Attack("offsets reversed", offsets: "[4,0]", "begins at 4 and ends at 0"),
  Attack("end behind the file", offsets: "[0,5]", "ends at data byte 5, the file has 4"),
  Attack("all behind the file", offsets: "[4,8]", "ends at data byte 8, the file has 4"),
  Attack("offsets at the largest integer", offsets: "[9223372036854775803,9223372036854775807]", "the file has 4"),
  Attack("gap at the start", offsets: "[4,8]", data: 8, "leaves a gap behind the header"),
  Attack("gap between", rawFile("{\(u8("a", 0, 1)),\(u8("b", 2, 3))}", dataByteCount: 3), #"leaves a gap behind "a""#),
  Attack("overlap by one", rawFile("{\(u8("a", 0, 2)),\(u8("b", 1, 3))}", dataByteCount: 3), #"overlaps "a""#),
  Attack("one inside the other", rawFile("{\(u8("a", 0, 3)),\(u8("b", 1, 2))}", dataByteCount: 3), #"overlaps "a""#),
  Attack("the same bytes twice", rawFile("{\(u8("a", 0, 2)),\(u8("b", 0, 2))}", dataByteCount: 2), #"overlaps "a""#),
  Attack(
    "empty tensor inside another", rawFile("{\(u8("a", 0, 2)),\(u8("b", 1, 1))}", dataByteCount: 2), #"overlaps "a""#),
  Attack("empty tensor behind the file", rawFile("{\(u8("b", 1, 1))}"), "ends at data byte 1, the file has 0"),
  Attack(
    "bytes behind the last tensor", rawFile("{\(u8("a", 0, 1))}", dataByteCount: 2), "1 bytes behind the last tensor"),
  Attack("bytes without a tensor", rawFile("{}", dataByteCount: 1), "1 bytes behind the last tensor"),
  // Metadata.
  Attack("number in metadata", rawFile(#"{"__metadata__":{"a":1}}"#), "saw '1', expected a string"),
  Attack("null in metadata", rawFile(#"{"__metadata__":{"a":null}}"#), "saw 'n', expected a string"),
  Attack("object in metadata", rawFile(#"{"__metadata__":{"a":{}}}"#), "saw '{', expected a string"),
  Attack("metadata as array", rawFile(#"{"__metadata__":[]}"#), "saw '[', expected '{'"),
  Attack("metadata as null", rawFile(#"{"__metadata__":null}"#), "saw 'n', expected '{'"),
  Attack(
    "metadata as tensor", rawFile("{\(u8("__metadata__", 0, 1))}", dataByteCount: 1), "saw '[', expected a string"),
  Attack("metadata key twice", rawFile(#"{"__metadata__":{"a":"1","a":"2"}}"#), #"metadata key "a" appears twice"#),
  Attack(
    "metadata key twice in other bytes", rawFile("{\"__metadata__\":{\"\u{E9}\":\"1\",\"e\u{301}\":\"2\"}}"),
    "appears twice"),
  Attack("trailing comma in metadata", rawFile(#"{"__metadata__":{"a":"1",}}"#), "expected a string"),
]

@Suite struct AttackFileTests {
  @Test(arguments: attacks)
  func `a file made to break the reader is refused for its reason`(_ attack: Attack) throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(attack.bytes, to: "attack.safetensors")
    let error = thrown { () throws(StoreError) in _ = try SafetensorsFile(path: path, followsLinks: false) }
    #expect(reason(error).contains(attack.reason), "\(reason(error))")
    #expect(reason(error).hasPrefix(path + ": "))
  }

  @Test func `the attacks have names of their own and are at least sixty`() {
    #expect(Set(attacks.map(\.name)).count == attacks.count)
    #expect(attacks.count >= 60)
  }

  @Test func `the role decides the kind of error`() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(rawFile("[]"), to: "attack.safetensors")
    let text = "byte 8: saw '[', expected '{'"
    let expected: [(FileRole, StoreError)] = [
      (.model, .invalidModel(path: path, reason: text)),
      (.blob, .damaged("\(path): \(text)")),
      (.input, .invalidInput("\(path): \(text)")),
    ]
    for (role, wanted) in expected {
      #expect(throws: wanted) { try SafetensorsFile(path: path, followsLinks: false, role: role) }
    }
  }
}
