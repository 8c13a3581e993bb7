/// How numbers, sizes and times are written for people.

package enum NumberText {
  /// `1234567` as `1,234,567`.
  package static func grouped(_ value: Int) -> String {
    let digits = String(value.magnitude)
    var text = value < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { text += "," }
      text.append(digit)
    }
    return text
  }

  /// A number with so many digits behind the point, rounded half away from zero.
  package static func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "-" }
    var unit = 1
    for _ in 0..<digits { unit *= 10 }
    let scaled = (value.magnitude * Double(unit)).rounded()
    guard scaled < 1e18 else { return String(value) }
    let whole = Int(scaled)
    let sign = value < 0 && whole != 0 ? "-" : ""
    guard digits > 0 else { return sign + grouped(whole) }
    let fraction = String(whole % unit)
    return sign + grouped(whole / unit) + "." + String(repeating: "0", count: digits - fraction.count) + fraction
  }

  /// Bytes in the largest unit that leaves at least one digit before the point: `9.4 MB`.
  package static func bytes(_ count: Int) -> String {
    var size = Double(count)
    var units = ["B", "kB", "MB", "GB", "TB", "PB"][...]
    while size.magnitude >= 999.95, units.count > 1 {
      size /= 1_000
      units = units.dropFirst()
    }
    return (units.first == "B" ? grouped(count) : fixed(size, 1)) + " " + (units.first ?? "")
  }

  /// A share: `0.94 %`.
  package static func percent(_ ratio: Double) -> String { fixed(ratio * 100, 2) + " %" }

  /// Whole seconds as `0:07`, `12:40` or `3:02:05`.
  package static func clock(_ seconds: Double) -> String {
    let total = Int(max(0, min(seconds, 359_999)).rounded())
    let two = { (value: Int) in value < 10 ? "0\(value)" : "\(value)" }
    let (hours, minutes) = (total / 3_600, total / 60 % 60)
    return (hours > 0 ? "\(hours):\(two(minutes))" : "\(minutes)") + ":" + two(total % 60)
  }

  /// A duration in the unit that suits it: `3.2 us`, `41.0 ms`, `2.7 s`.
  package static func time(_ seconds: Double) -> String {
    if seconds < 0.999_95e-3 { return fixed(seconds * 1e6, 1) + " us" }
    if seconds < 0.999_95 { return fixed(seconds * 1e3, 1) + " ms" }
    return fixed(seconds, 1) + " s"
  }

  /// `1 user`, `2 users`.
  package static func count(_ value: Int, _ noun: String, _ plural: String? = nil) -> String {
    grouped(value) + " " + (value == 1 ? noun : plural ?? noun + "s")
  }

  package static func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }
}
