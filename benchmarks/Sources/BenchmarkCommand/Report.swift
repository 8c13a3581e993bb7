/// What a benchmark found: numbers with their units, ratios with the bounds they are held to, a table for people and
/// a JSON file for everybody else.

import Glibc

/// What a ratio must keep to.
enum Bound {
  case atMost(Double)
  case atLeast(Double)

  func isMet(by value: Double) -> Bool {
    switch self {
    case .atMost(let limit): value <= limit
    case .atLeast(let limit): value >= limit
    }
  }

  var text: String {
    switch self {
    case .atMost(let limit): "<= \(Report.short(limit))"
    case .atLeast(let limit): ">= \(Report.short(limit))"
    }
  }
}

/// Collects the results of one benchmark.
final class Report {
  private struct Figure {
    var name: String
    var value: Double
    var unit: String
    var must: Bound?
    var aim: Bound?
  }

  let name: String
  private let options: Options
  private var parameters: [(String, JSON)] = []
  private var figures: [Figure] = []
  private var notes: [String] = []
  private var dataHash: UInt64?
  /// Others' work: our own counts for little before a benchmark has begun.
  private let loadBefore = Machine.loadAverage

  init(_ name: String, _ options: Options) {
    self.name = name
    self.options = options
    progress("running")
  }

  /// States a number that the run was made with.
  func parameter(_ name: String, _ value: JSON) { parameters.append((name, value)) }

  /// Records a measured number.
  func measured(_ name: String, _ value: Double, _ unit: String) {
    figures.append(Figure(name: name, value: value, unit: unit))
  }

  /// Records a number that is held to a bound.
  func figure(_ name: String, _ value: Double, _ unit: String = "ratio", must: Bound?, aim: Bound? = nil) {
    figures.append(Figure(name: name, value: value, unit: unit, must: must, aim: aim))
  }

  /// A number that has been recorded.
  func value(_ name: String) -> Double? { figures.first { $0.name == name }?.value }

  /// Says something that the numbers do not.
  func note(_ text: String) { notes.append(text) }

  /// A hash of what every engine returned: equal in two runs with equal parameters.
  func result(hash: UInt64) { dataHash = hash }

  /// Tells a person at a terminal what goes on.
  func progress(_ text: String) { Self.say("[\(name)] \(text)\n") }

  /// Writes to the standard error output.
  static func say(_ text: String) {
    let bytes = Array(text.utf8)
    _ = Glibc.write(2, bytes, bytes.count)
  }

  /// Prints the table and writes `<name>.json`.
  func finish() throws {
    print("\n\(name) (\(options.size.rawValue))")
    let width = figures.map(\.name.count).max() ?? 0
    for figure in figures {
      var line = "  " + Self.padded(figure.name, width) + Self.padded(Self.short(figure.value), 12, right: true)
      line += " " + Self.padded(figure.unit, 16)
      if let must = figure.must {
        line += "must " + Self.padded(must.text, 11) + Self.padded(figure.aim.map { "aim \($0.text)" } ?? "", 15)
        line += verdict(figure)
      }
      print(line)
    }
    warnOfOthers()
    for note in notes { print("  note: \(note)") }
    fflush(nil)
    try Files.makeDirectory(options.resultsPath)
    try Files.write(Array((json.text() + "\n").utf8), to: "\(options.resultsPath)/\(name).json")
  }

  /// On a busy machine a thread that waited for the disk also waits for its turn, and every synced commit costs the
  /// same few scheduler ticks, whoever makes it: ratios of synced times then say nothing.
  private func warnOfOthers() {
    // A minute after one of our own benchmarks the average is still near 1.
    guard loadBefore > 1.25 || Machine.loadAverage > 2.5 else { return }
    let loads = "\(Self.short(loadBefore)) before, \(Self.short(Machine.loadAverage)) after"
    note("the machine was busy (load \(loads)): synced times and their ratios do not count")
  }

  private func verdict(_ figure: Figure) -> String {
    guard options.size != .smoke else { return "not judged" }
    guard let must = figure.must, must.isMet(by: figure.value) else { return "MISSED" }
    return figure.aim?.isMet(by: figure.value) == true ? "aim met" : "met"
  }

  private var json: JSON {
    var members: [(String, JSON)] = [
      ("benchmark", .string(name)), ("size", .string(options.size.rawValue)), ("commit", .string(Machine.commit)),
      ("machine", Machine.description(dataPath: options.dataPath)), ("versions", Machine.versions),
      ("loadBefore", .number(loadBefore)), ("loadAfter", .number(Machine.loadAverage)),
      ("parameters", .object(parameters)),
    ]
    if let dataHash { members.append(("resultHash", .string(String(dataHash, radix: 16)))) }
    members.append(("figures", .array(figures.map(json))))
    members.append(("notes", .array(notes.map(JSON.string))))
    return .object(members)
  }

  private func json(_ figure: Figure) -> JSON {
    var members: [(String, JSON)] = [
      ("name", .string(figure.name)), ("value", .number(figure.value)), ("unit", .string(figure.unit)),
    ]
    if let must = figure.must {
      members.append(("must", .string(must.text)))
      if options.size != .smoke { members.append(("met", .bool(must.isMet(by: figure.value)))) }
    }
    if let aim = figure.aim { members.append(("aim", .string(aim.text))) }
    return .object(members)
  }

  /// Four significant digits at most, without an exponent.
  static func short(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    let magnitude = abs(value)
    let places = magnitude >= 1_000 ? 0 : magnitude >= 100 ? 1 : magnitude >= 10 ? 2 : magnitude >= 1 ? 3 : 4
    let scale = pow(10, Double(places))
    let rounded = (value * scale).rounded() / scale
    return places == 0 ? "\(Int(rounded))" : "\(rounded)"
  }

  private static func padded(_ text: String, _ width: Int, right: Bool = false) -> String {
    let fill = String(repeating: " ", count: max(0, width - text.count))
    return right ? fill + text : text + fill
  }
}
