/// Who a history belongs to: an integer, or bytes. The two never meet: user 7 is not the user whose
/// id is the byte 0x07. Bytes are compared as bytes, never as text, because two different byte strings
/// can be the same text.

/// The owner of one history.
public enum UserID: Hashable, Sendable {
  /// A 64-bit signed integer.
  case integer(Int64)
  /// At most `UserID.byteCountLimit` bytes, compared as bytes.
  case bytes([UInt8])

  /// The longest byte id, in bytes.
  public static let byteCountLimit = 255
}

extension UserID: ExpressibleByIntegerLiteral {
  public init(integerLiteral value: Int64) { self = .integer(value) }
}

extension UserID: CustomStringConvertible {
  /// A decimal integer, or `x'0a1b'` for bytes.
  public var description: String {
    switch self {
    case .integer(let value): String(value)
    case .bytes(let bytes): "x'" + Hex.encode(bytes) + "'"
    }
  }

  /// Reads what `description` writes, hexadecimal digits in either case; `nil` for anything else, such as `007`, which
  /// another system may tell from `7`, or for more than 255 bytes.
  public init?(_ text: String) {
    if text.hasPrefix("x'"), text.hasSuffix("'"), text.utf8.count >= 3 {
      guard let bytes = Hex.decode(text.dropFirst(2).dropLast()), bytes.count <= UserID.byteCountLimit
      else { return nil }
      self = .bytes(bytes)
    } else if let value = Int64(text), String(value) == text {
      self = .integer(value)
    } else {
      return nil
    }
  }
}

extension UserID: Comparable {
  /// The order of the store's rows: integers first, by value; then bytes, lexicographically.
  public static func < (left: UserID, right: UserID) -> Bool {
    switch (left, right) {
    case (.integer(let a), .integer(let b)): a < b
    case (.integer, .bytes): true
    case (.bytes, .integer): false
    case (.bytes(let a), .bytes(let b)): a.lexicographicallyPrecedes(b)
    }
  }
}

extension UserID {
  /// The users in order; integers, which are the rule, take the short way.
  package static func sorted(_ users: [UserID]) -> [UserID] {
    var integers: [Int64] = []
    var others: [UserID] = []
    integers.reserveCapacity(users.count)
    for user in users {
      if case .integer(let value) = user { integers.append(value) } else { others.append(user) }
    }
    integers.sort()
    others.sort()
    return integers.map(UserID.integer) + others
  }
}

extension UserID {
  /// Differs from process to process: who chooses user ids does not choose where they collide.
  private static let hashSeed = UInt64.random(in: .min ... .max)

  /// A hash for the engine's own tables: a tenth of `hashValue`'s cost for integers.
  @inline(__always)
  package var quickHash: Int {
    var mixed: UInt64
    switch self {
    case .integer(let value): mixed = UInt64(bitPattern: value) ^ Self.hashSeed
    case .bytes(let bytes): mixed = Checksum.xxh3(bytes, seed: Self.hashSeed)
    }
    mixed = (mixed ^ mixed >> 32) &* 0xD6E8_FEB8_6659_FD93
    mixed = (mixed ^ mixed >> 32) &* 0xD6E8_FEB8_6659_FD93
    return Int(truncatingIfNeeded: mixed ^ mixed >> 32)
  }
}

/// Lower-case hexadecimal, two digits a byte.
package enum Hex {
  private static let digits = Array("0123456789abcdef".utf8)

  package static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var text: [UInt8] = []
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }

  package static func decode(_ text: some StringProtocol) -> [UInt8]? {
    let codes = Array(text.utf8)
    guard codes.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: codes.count, by: 2) {
      guard let high = nibble(codes[index]), let low = nibble(codes[index + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    return bytes
  }

  private static func nibble(_ code: UInt8) -> UInt8? {
    switch code {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): code - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): code - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): code - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
