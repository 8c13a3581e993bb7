/// The entry point: parses the arguments, runs one command, and turns every failure into one line on standard error and
/// an exit code. It holds no command's work.

internal import ArgumentParser
internal import CollectiveKV
internal import Glibc

@main
struct Command: ParsableCommand {
  static let version = "0.1.0"
  /// The format that this program writes; older ones are read.
  static let formatVersion = 1

  static let configuration = CommandConfiguration(
    commandName: "ckvdb",
    abstract: "An embedded store for the KV caches of sequential recommenders.",
    discussion: """
      A store is a directory. It keeps, for every user and every position of the
      user's history, a few numbers and the index of a row in a pool that all
      users share; full keys and values are put together when they are read.
      That is about 1 % of what the keys and values themselves would take.

        ckvdb demo                                         see it at work
        ckvdb init shop.ckv --model model.safetensors      make a store
        ckvdb append shop.ckv --events events.tsv.gz       fill it
        ckvdb dump shop.ckv --user 42 --positions 0..<3    look into it
        ckvdb attend shop.ckv --queries q.safetensors --output out.safetensors \\
            --attention softmax                            ask it

      User ids are decimal integers, or bytes in hexadecimal: x'0a1b'.

      Exit codes: 0 done; 64 wrong usage; 65 damaged or refused data; 74 the
      operating system or SQLite refused; 75 busy, try again later.
      """,
    subcommands: [
      Init.self, Append.self, Attend.self, Dump.self, Delete.self, Vacuum.self, Verify.self, Stat.self, Bench.self,
      Demo.self,
    ])

  @Flag(help: "Show the versions of ckvdb, of its format and of SQLite.")
  var version = false

  func run() throws {
    guard version else { throw CleanExit.helpRequest(self) }
    print("ckvdb \(Command.version), format version \(Command.formatVersion), SQLite \(sqliteVersion)")
  }

  static func main() {
    // A reader that stops early (`| head`) shows up as a failed write, which ends the command quietly.
    _ = signal(SIGPIPE, SIG_IGN)
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      ErrorText.exit(with: error)
    }
  }
}
