/// `ckvdb bench`: what a store of a given shape would gain on this machine, measured on one that is made for it and
/// removed afterwards, also when the command is interrupted.

internal import ArgumentParser
internal import CacheTypes

struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure a store of your shape on this machine.",
    discussion: """
      Makes a store of random weights and entries, measures it, removes it, and
      prints the middle and the slow end (p50, p99) of every operation, one thread:

        copy         of one user's full K and V, f16, from memory into a buffer:
                     what a plain cache has to move, attention not included.
                     The users' K and V are four times the last-level cache in
                     all, memory permitting, so that a random user's are not in it.
        attend       one request of C queries over a random user's positions, with
                     every attention function (topk, select, simhash: top 100;
                     simhash: 16 bits; sdim: 8 groups of 4), attention included
                     candidate set: the same C queries for every user, what of
                     their scores depends on no user computed beforehand (at
                     most 64 MiB of it); sdim has nothing to prepare
        reconstruct  full K and V of a random user, as f32
        read         what is stored of a random user, nothing computed
        append       one position, and 256 of random users in one commit: encoded
                     from embeddings of 64 numbers, and on the disk. Beside it one
                     write of 4 KiB that waits for the disk: $TMPDIR's, or /tmp's

      Beside every time stands its ratio to the copy's or the write's; below 1 is
      faster. Key and value keep 2 numbers of a position each, the rest comes from
      the pool, whose rows are used uniformly. Other programs on the machine disturb
      the times: look at more than one run.

        ckvdb bench
        ckvdb bench --positions 10000 --width 128 --heads 4 --candidates 100
        ckvdb bench --json > bench.json
      """)

  @Option(help: ArgumentHelp("Length of a user's history.", valueName: "count"))
  var positions = 1_000

  @Option(help: ArgumentHelp("Rows of the key pool, and of the value pool.", valueName: "rows"))
  var pool = 1_024

  @Option(help: ArgumentHelp("Numbers of a full key, and of a full value.", valueName: "numbers"))
  var width = 256

  @Option(help: ArgumentHelp("Queries of one request.", valueName: "count"))
  var candidates = 1

  @Option(help: ArgumentHelp("Attention heads; they divide the width.", valueName: "count"))
  var heads = 1

  @Option(
    help: ArgumentHelp(
      "Users of the store (default: as many as four times the last-level cache holds; 1: everything stays in it).",
      valueName: "count"))
  var users: Int?

  @Option(help: ArgumentHelp("How long to measure, once the store is made.", valueName: "seconds"))
  var seconds = 10.0

  @Flag(help: "Print one JSON object, times in seconds.")
  var json = false

  private var shape: BenchShape {
    BenchShape(positions: positions, pool: pool, width: width, candidates: candidates, heads: heads, users: users)
  }

  func validate() throws {
    try shape.validate(on: .current())
    guard seconds >= 0.1, seconds <= 3_600 else {
      throw ValidationError("--seconds is \(seconds), expected 0.1 to 3600.")
    }
  }

  func run() throws {
    Interruption.notice()
    let folder = try TemporaryFolder("bench")
    let report = try withExtendedLifetime(folder) {
      try naming(folder.path) {
        try BenchRun(shape, .current(), folder: folder.path, seconds: seconds).run()
      }
    }
    print(json ? report.json : report.text)
  }
}
