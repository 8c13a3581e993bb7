/// `ckvdb verify`: reads everything and lists what is wrong.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check every page, row and pool of a store.",
    discussion: """
      Prints one line for each problem on standard output and ends with exit code 65
      if there was any. Nothing is changed.

      --repair copies what is whole to a new store; the old one is left alone. Every
      user keeps the positions before the first damaged one. What was dropped is
      listed, and the exit code is then 65.

        ckvdb verify shop.ckv
        ckvdb verify shop.ckv --repair saved.ckv
      """)

  @OptionGroup var store: StoreArgument

  @Option(help: ArgumentHelp("Copy what is whole to a new store.", valueName: "path"), completion: .directory)
  var repair: String?

  @Option(
    help: ArgumentHelp("With --repair: the model, if the store's copy of it is damaged.", valueName: "file"),
    completion: .file())
  var model: String?

  func validate() throws {
    if model != nil, repair == nil { throw ValidationError("--model goes with --repair") }
  }

  func run() throws {
    if let repair { return try run(into: repair) }
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

  private func run(into target: String) throws {
    var progress = ProgressLine("positions")
    let report = try naming(store.path) {
      try CacheStore.repair(at: store.path, into: target, model: model) { done, total in
        progress.update(done, share: total > 0 ? Double(done) / Double(total) : nil)
      }
    }
    progress.clear()
    for dropped in report.dropped {
      print("user \(dropped.user): positions \(dropped.positions.lowerBound)..<\(dropped.positions.upperBound) dropped")
    }
    for user in report.staleUsers { print("user \(user): dropped, the rows belong to another model") }
    for problem in report.problems { print(problem) }
    if report.unnamedPositions > 0 {
      print("\(NumberText.count(report.unnamedPositions, "position")) more dropped, of users that no sound row names")
    }
    print(
      "\(target): kept \(NumberText.count(report.users, "user")), "
        + "\(NumberText.count(report.positions, "position")), \(NumberText.count(report.rows, "row"))")
    guard report.isWhole else { throw CommandFailure(.data, "\(store.path): not everything could be kept") }
  }

  static func verdict(_ problems: [VerifyReport.Problem]) -> String {
    problems.isEmpty ? "no problem" : NumberText.count(problems.count, "problem")
  }
}
