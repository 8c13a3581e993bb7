/// A scan of one table in the order of its key that damaged pages do not end: where SQLite refuses to go on, the
/// scan looks for the next key that it can seek, and says what it left out. It holds one row at a time.

internal import CacheTypes

/// A scan over `block` or `tail`, whose keys are integers.
final class TableScan {
  enum Table {
    case block, tail

    fileprivate var rows: String {
      switch self {
      case .block:
        "SELECT place, count, generation, checksum, payload FROM block WHERE place >= ?1 ORDER BY place"
      case .tail:
        "SELECT seq, user, position, count, generation, checksum, payload FROM tail WHERE seq >= ?1 ORDER BY seq"
      }
    }

    fileprivate var seek: String {
      switch self {
      case .block: "SELECT place FROM block WHERE place >= ?1 ORDER BY place LIMIT 1"
      case .tail: "SELECT seq FROM tail WHERE seq >= ?1 ORDER BY seq LIMIT 1"
      }
    }

    /// Says where a stretch of keys lies.
    func describe(_ keys: ClosedRange<Int64>) -> String {
      switch self {
      case .tail: return "tail rows \(keys.lowerBound) to \(keys.upperBound)"
      case .block:
        func place(_ key: Int64) -> String {
          let number = BlockPlace.number(of: key)
          let user = number.isUserID ? "user \(number.value)" : "user number \(number.value)"
          return "\(user), position \(BlockPlace.position(of: key))"
        }
        return "blocks from \(place(keys.lowerBound)) to \(place(keys.upperBound))"
      }
    }
  }

  private let rows: Statement
  private let seek: Statement

  init(_ connection: borrowing Connection, _ table: Table) throws(StoreError) {
    rows = try connection.prepare(table.rows)
    seek = try connection.prepare(table.seek)
  }

  /// Calls `body` for every row that can be read, and `unreadable` for the keys that cannot.
  func forEach(
    _ body: (borrowing Statement) throws(StoreError) -> Void,
    unreadable: (ClosedRange<Int64>, StoreError) -> Void
  ) throws(StoreError) {
    defer { rows.reset() }
    var next: Int64? = .min
    while let first = next {
      rows.reset()
      rows.bind(first, at: 1)
      next = nil
      // Where the scan must go on if the next step fails; `nil` behind the greatest key.
      var resume: Int64? = first
      var failure: StoreError?
      while let place = resume {
        do throws(StoreError) { guard try rows.step() else { break } } catch {
          guard error.isDamage else { throw error }
          next = firstReadable(from: place)
          failure = error
          break
        }
        let key = rows.integer(0)
        resume = key < .max ? key + 1 : nil
        try body(rows)
      }
      if let failure, let place = resume { unreadable(place...max(place, (next ?? .max) - 1), failure) }
    }
  }

  /// The first key from `start` on that can be sought, as far as growing steps and then halving find it. Steps grow by
  /// an eighth, so that readable pages behind damaged ones are not jumped over.
  private func firstReadable(from start: Int64) -> Int64? {
    var failing = start
    while true {
      let distance = UInt64(bitPattern: failing &- start)
      let (place, isBeyond) = failing.addingReportingOverflow(Int64(distance / 8) + 1)
      guard !isBeyond else { return nil }
      if let isThere = canSeek(place) {
        guard isThere else { return nil }
        var readable = place
        while readable - failing > 1 {
          let middle = failing + (readable - failing) / 2
          if canSeek(middle) != nil { readable = middle } else { failing = middle }
        }
        return readable
      }
      failing = place
    }
  }

  /// Whether there is a key from `place` on; `nil` if that cannot be read.
  private func canSeek(_ place: Int64) -> Bool? {
    seek.bind(place, at: 1)
    defer { seek.reset() }
    return try? seek.step()
  }
}

extension StoreError {
  /// Whether the file is to blame, and other parts of it may be sound.
  var isDamage: Bool { if case .damaged = self { true } else { false } }
}
