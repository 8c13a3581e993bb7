/// Runs this executable again with a hidden subcommand, for what needs a process of its own: an environment without
/// OpenBLAS settings, or memory that nothing else has touched.

import Glibc

enum ChildProcess {
  /// Runs a hidden subcommand; returns the `name value` lines that it prints.
  static func run(_ words: [String], environment: [String: String] = [:]) throws -> [String: String] {
    var path = [CChar](repeating: 0, count: 4_096)
    let count = readlink("/proc/self/exe", &path, path.count - 1)
    guard count > 0 else { throw Files.failure("readlink", "/proc/self/exe") }
    let executable = String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return try answers(of: [executable] + words, environment: environment)
  }

  /// Runs a command, without the settings that OpenBLAS and OpenMP would take from the environment and on one thread;
  /// returns the `name value` lines that it prints.
  static func answers(of words: [String], environment: [String: String] = [:]) throws -> [String: String] {
    let settings = environment.map { "\($0.key)=\($0.value)" }
    let threads = ["OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1"]
    let prefix = ["env", "-u", "OPENBLAS_CORETYPE", "-u", "OPENBLAS_L2_SIZE"] + threads + settings
    let command = (prefix + words).map(quoted).joined(separator: " ")
    var answers: [String: String] = [:]
    for line in try Files.output(of: command).split(separator: "\n") {
      let parts = line.split(separator: " ", maxSplits: 1)
      if parts.count == 2 { answers[String(parts[0])] = String(parts[1]) }
    }
    return answers
  }

  static func number(_ answers: [String: String], _ name: String) throws -> Double {
    guard let value = answers[name].flatMap(Double.init) else { throw BenchmarkError("the child said no \(name)") }
    return value
  }

  private static func quoted(_ word: String) -> String {
    "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
