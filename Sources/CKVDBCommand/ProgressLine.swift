/// One line on the terminal that tells how far a long command is: rate, share, time left. On anything but a terminal it
/// writes nothing at all.

package struct ProgressLine {
  private let isShown: Bool
  private let noun: String
  private let start = ContinuousClock.now
  private var lastShown: ContinuousClock.Instant?
  private var width = 0
  private static let interval = Duration.milliseconds(200)

  /// - Parameter noun: what is counted: `events`.
  package init(_ noun: String, isShown: Bool = StandardError.isTerminal) {
    self.noun = noun
    self.isShown = isShown
  }

  /// - Parameters:
  ///   - count: how many are done.
  ///   - share: how much of the whole that is, if known.
  package mutating func update(_ count: Int, share: Double?) {
    guard isShown else { return }
    let now = ContinuousClock.now
    if let lastShown, now - lastShown < Self.interval { return }
    lastShown = now
    show(Self.text(count, noun, share: share, seconds: NumberText.seconds(now - start)))
  }

  /// Takes the line away.
  package mutating func clear() {
    guard isShown, width > 0 else { return }
    show("")
    StandardError.write("\r")
  }

  package static func text(_ count: Int, _ noun: String, share: Double?, seconds: Double) -> String {
    var text = "\(NumberText.grouped(count)) \(noun)"
    if seconds > 0.5 { text += "  \(NumberText.fixed(Double(count) / seconds, 0))/s" }
    if let share {
      let share = min(max(share, 0), 1)
      text += "  \(NumberText.fixed(share * 100, 0)) %"
      if share > 0.01, seconds > 0.5 { text += "  \(NumberText.clock(seconds / share * (1 - share))) left" }
    }
    return text
  }

  private mutating func show(_ text: String) {
    StandardError.write("\r" + text + String(repeating: " ", count: max(0, width - text.utf8.count)))
    width = text.utf8.count
  }
}
