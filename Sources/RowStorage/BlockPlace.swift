/// The key of a block: one integer that holds whose it is and where it begins, so that a page of keys leads to hundreds
/// of pages of rows and a user's blocks lie side by side. Small integer user ids are in the key as they are; any other
/// user gets a number from the table `user` when its first block is written.

internal import CacheTypes

/// What stands for a user in the keys of its blocks.
struct UserNumber: Hashable, Comparable {
  let value: Int32

  init(_ value: Int32) { self.value = value }

  /// The number of a user whose id is an integer from 0 to 2^31 - 1: the id itself. `nil` for any other user.
  @inline(__always)
  init?(ownNumberOf user: UserID) {
    guard case .integer(let id) = user, let value = Int32(exactly: id), value >= 0 else { return nil }
    self.value = value
  }

  /// Whether the number is the user's id; otherwise the table `user` says whose it is.
  var isUserID: Bool { value >= 0 }

  static func < (left: UserNumber, right: UserNumber) -> Bool { left.value < right.value }
}

/// Places in the table `block`.
enum BlockPlace {
  static let positionBits: Int64 = 32

  /// The key of a block that begins at `position`.
  @inline(__always)
  static func key(_ number: UserNumber, _ position: Int) -> Int64 {
    Int64(number.value) << positionBits | Int64(position)
  }

  /// The greatest key that can be the user's; no position is so high, but a file may say so.
  @inline(__always)
  static func last(_ number: UserNumber) -> Int64 { key(number, Int(UInt32.max)) }

  @inline(__always)
  static func number(of key: Int64) -> UserNumber { UserNumber(Int32(truncatingIfNeeded: key >> positionBits)) }

  @inline(__always)
  static func position(of key: Int64) -> Int { Int(UInt32(truncatingIfNeeded: key)) }
}
