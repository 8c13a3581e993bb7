/// The command: finds the benchmark that is asked for and runs it.

import Glibc

@main
enum Main {
  static let usage = """
    usage: ckvdb-benchmark BENCHMARK [--smoke | --full] [--data DIR] [--results DIR] [--memory DIR | --no-memory]
                           [--peer-cache-mib N] [--python PATH | --no-python] [--seed N]

      size            bytes on disk against the full f16 cache and against the payload
      read            500 positions of a user, beside SQLite, RocksDB and LMDB
      append-commits  256 positions to a commit, beside SQLite, RocksDB and LMDB
      append-single   one position to a commit, beside one synced write
      append-whole    a million positions until everything is folded and closed, beside RocksDB
      encode          batches of embeddings, beside OpenBLAS
      open            time to open, memory while appending
      attend          softmax from the store, beside a copy of full keys and values
      attend-peers    the same beside LMDB, RocksDB, SQLite, computing keys and values again, and PyTorch
      attend-grid     attend over lengths, queries, pools, widths, element types and functions
      kernels         every kernel beside its floor by measured peaks
      floors          what hashing, reading and syncing cost by themselves
      all             everything

      --smoke         seconds instead of minutes; figures without meaning
      --full          also 10^8 positions
      --python        a Python that can import PyTorch (default: python3, if it can; none with --smoke)
      --data          where stores are made and removed again (default: the working directory)

    """

  static func main() {
    do {
      let options = try Options(CommandLine.arguments.dropFirst())
      guard let name = options.words.first else {
        Report.say(usage)
        exit(64)
      }
      try run(name, options)
    } catch {
      Report.say("ckvdb-benchmark: \(error)\n")
      exit(1)
    }
  }

  private static let benchmarks: [(name: String, run: @Sendable (Options) throws -> Void)] = [
    ("floors", { try FloorsBenchmark.run($0) }), ("size", { try SizeBenchmark.run($0) }),
    ("read", { try ReadBenchmark.run($0) }), ("append-commits", { try AppendBenchmark.runCommits($0) }),
    ("append-single", { try AppendBenchmark.runSingle($0) }),
    ("append-whole", { try AppendBenchmark.runWhole($0) }),
    ("encode", { try EncodeBenchmark.run($0) }), ("open", { try OpenBenchmark.run($0) }),
    ("attend", { try AttendBenchmark.run($0) }), ("attend-peers", { try AttendPeersBenchmark.run($0) }),
    ("attend-grid", { try AttendGridBenchmark.run($0) }), ("kernels", { try KernelsBenchmark.run($0) }),
  ]

  private static func run(_ name: String, _ options: Options) throws {
    switch name {
    case "all": for benchmark in benchmarks { try benchmark.run(options) }
    case EncodeBenchmark.childName: try EncodeBenchmark.runChild(options)
    case RecomputeBenchmark.childName: try RecomputeBenchmark.runChild(options)
    case OpenBenchmark.childName: try OpenBenchmark.runChild(options)
    default:
      guard let benchmark = benchmarks.first(where: { $0.name == name }) else {
        throw BenchmarkError("no benchmark is called \(name)")
      }
      try benchmark.run(options)
    }
  }
}
