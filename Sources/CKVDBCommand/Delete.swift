/// `ckvdb delete`: erases one user.

internal import ArgumentParser
internal import CacheTypes
internal import CollectiveKV

struct Delete: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Erase everything that a store keeps of one user.",
    discussion: """
      No byte of the user's rows stays in any file of the store. While another
      process still reads from before the deletion, old pages survive in the
      write-ahead log: the command says so, and the next opportunity removes them.
      The pools and the model were learned from many users and stay as they are.

        ckvdb delete shop.ckv --user 42
        ckvdb delete shop.ckv --user "x'0a1b'"
      """)

  @OptionGroup var store: StoreArgument

  @OptionGroup var rollback: RollbackArgument

  @Option(help: ArgumentHelp("The user: an integer, or bytes as x'0a1b'.", valueName: "user"))
  var user: UserID

  func run() throws {
    let report = try store.open(.readWrite, rollback) { try $0.delete(user: user) }
    print("deleted user \(user): \(NumberText.count(report.positions, "position"))")
    if report.isErasurePending {
      print("another process is still reading older pages: their erasure is pending and will be finished later")
    }
  }
}
