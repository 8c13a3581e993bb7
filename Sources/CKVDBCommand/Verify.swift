/// `ckvdb verify`: reads everything and lists what is wrong.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check every page, row and pool of a store.",
    discussion: """
      Prints one line for each problem on standard output and ends with exit code 65
      if there was any. Nothing is changed, and nothing is repaired.

        ckvdb verify shop.ckv
      """)

  @OptionGroup var store: StoreArgument

  func run() throws {
    let report = try store.open(.readOnly, acceptsRollback: true) { store in
      var progress = ProgressLine("steps")
      let report = try store.verify { done, total in
        progress.update(done, share: total > 0 ? Double(done) / Double(total) : nil)
      }
      progress.clear()
      return report
    }
    for problem in report.problems { print(problem.description) }
    print(
      "\(NumberText.count(report.users, "user")), \(NumberText.count(report.positions, "position")), "
        + "\(NumberText.count(report.rows, "row")): \(Self.verdict(report.problems))")
    guard report.problems.isEmpty else {
      throw CommandFailure(.data, "\(store.path): \(NumberText.count(report.problems.count, "problem"))")
    }
  }

  static func verdict(_ problems: [VerifyReport.Problem]) -> String {
    problems.isEmpty ? "no problem" : NumberText.count(problems.count, "problem")
  }
}
