/// `ckvdb vacuum`: folds, re-encodes if asked, gives space back, and says before and after.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Vacuum: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Pack a store, give its free space back, or migrate it.",
    discussion: """
      Moves every recent row into the users' blocks and rewrites the database
      without gaps. Readers go on meanwhile, writers wait. A process killed at any
      moment leaves the old rows or the new ones, never a mixture.

      --element re-encodes every row; a narrower type rounds, and widening it again
      does not bring the lost digits back. --page-size needs the store for itself
      alone (exit code 75 otherwise).

        ckvdb vacuum shop.ckv
        ckvdb vacuum shop.ckv --element i8
        ckvdb vacuum shop.ckv --page-size 16384
      """)

  @OptionGroup var store: StoreArgument

  @OptionGroup var rollback: RollbackArgument

  @Option(help: "Re-encode the numbers of users in this type.")
  var element: ElementType?

  @Option(help: ArgumentHelp("Rewrite the database with pages of so many bytes.", valueName: "bytes"))
  var pageSize: Int?

  func validate() throws { try validatePageSize(pageSize) }

  func run() throws {
    try store.open(.readWrite, rollback) { store in
      let before = try store.statistics()
      let need = (before.databaseByteCount + before.logByteCount) * 3
      print(
        "before   \(NumberText.bytes(before.storeByteCount)); up to \(NumberText.bytes(need)) more are needed meanwhile"
      )
      var progress = ProgressLine("steps")
      let report = try store.vacuum(VacuumOptions(element: element, pageByteCount: pageSize)) { done, total in
        progress.update(done, share: total > 0 ? Double(done) / Double(total) : nil)
      }
      progress.clear()
      print("after    \(NumberText.bytes(report.byteCountAfter))", terminator: "")
      if report.byteCountBefore > 0 {
        let ratio = Double(report.byteCountAfter) / Double(report.byteCountBefore)
        print(", \(NumberText.percent(ratio)) of \(NumberText.bytes(report.byteCountBefore))")
      } else {
        print()
      }
      print("folded   \(NumberText.count(report.foldedRows, "row"))")
      if report.reencodedUsers > 0 { print("encoded  \(NumberText.count(report.reencodedUsers, "user")) anew") }
    }
  }
}
