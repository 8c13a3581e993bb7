/// A clock, a sink for results, and the JSON that is written.

import Glibc

enum Clock {
  /// Seconds of a clock that only moves forward.
  static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  static func seconds(_ body: () -> Void) -> Double {
    let start = now()
    body()
    return now() - start
  }
}

enum BlackHole {
  nonisolated(unsafe) private static var sink: UInt64 = 0
  @inline(never) static func take(_ value: UInt64) { sink = sink &* 31 &+ value }
}

/// One JSON value. What is short stands in one line.
enum JSON {
  case object([(String, JSON)])
  case array([JSON])
  case string(String)
  case number(Double)
  case integer(Int)

  func text(indent: String = "") -> String {
    switch self {
    case .object(let members):
      Self.lines(members.map { "\"\($0)\": \($1.text(indent: indent + "  "))" }, "{", "}", indent)
    case .array(let elements):
      Self.lines(elements.map { $0.text(indent: indent + "  ") }, "[", "]", indent)
    case .string(let text): "\"\(text)\""
    case .number(let value): value.isFinite ? rounded(value, abs(value) < 1 ? 5 : abs(value) < 100 ? 3 : 0) : "null"
    case .integer(let value): "\(value)"
    }
  }

  private static func lines(
    _ parts: [String], _ open: String, _ close: String, _ indent: String
  ) -> String {
    if parts.reduce(0, { $0 + $1.count }) < 600 && !parts.contains(where: { $0.contains("\n") }) {
      return open + parts.joined(separator: ", ") + close
    }
    return "\(open)\n\(indent)  " + parts.joined(separator: ",\n\(indent)  ") + "\n\(indent)\(close)"
  }
}
