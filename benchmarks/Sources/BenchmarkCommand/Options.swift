/// What the command line asks for.

import Glibc

struct Options {
  enum Size: String {
    /// Seconds: shows that everything runs, not how fast.
    case smoke
    /// The figures, up to 10^7 positions: about half an hour for everything.
    case standard
    /// The same and 10^8 positions.
    case full
  }

  var size = Size.standard
  /// Where stores are made; a directory of our own in it is removed at the end.
  var dataPath = "."
  var resultsPath = "results"
  /// A second place for appends, in memory.
  var memoryPath: String? = "/dev/shm"
  /// Page or block cache that the peers get where the data is meant to lie beyond it.
  var peerCacheByteCount = 16 << 20
  /// A Python that can import PyTorch; `nil`: `python3`, if it can.
  var pythonPath: String?
  var usesPython = true
  var seed: UInt64 = 1
  /// What is left: the subcommand and its own arguments.
  var words: [String] = []

  init(_ arguments: some Sequence<String>) throws {
    var rest = Array(arguments)[...]
    while let word = rest.popFirst() {
      func value() throws -> String {
        guard let value = rest.popFirst() else { throw BenchmarkError("\(word) needs a value") }
        return value
      }
      func number() throws -> Int {
        let text = try value()
        guard let number = Int(text), number >= 0 else { throw BenchmarkError("\(word): \(text) is no number") }
        return number
      }
      switch word {
      case "--smoke": size = .smoke
      case "--full": size = .full
      case "--data": dataPath = try value()
      case "--results": resultsPath = try value()
      case "--memory": memoryPath = try value()
      case "--no-memory": memoryPath = nil
      case "--peer-cache-mib": peerCacheByteCount = try number() << 20
      case "--python": pythonPath = try value()
      case "--no-python": usesPython = false
      case "--seed": seed = UInt64(try number())
      case _ where word.hasPrefix("-"): throw BenchmarkError("unknown option \(word)")
      default: words.append(word)
      }
    }
  }

  /// The smoke size's number, or the standard one.
  func sized<Value>(_ smoke: Value, _ standard: Value) -> Value { size == .smoke ? smoke : standard }

  /// Runs `body` with an empty directory, which is removed afterwards whatever happens.
  func withDirectory(in parent: String? = nil, _ body: (String) throws -> Void) throws {
    let path = "\(parent ?? dataPath)/ckvdb-benchmark.\(getpid())"
    Files.remove(path)
    try Files.makeDirectory(path)
    defer { Files.remove(path) }
    try body(path)
  }

  /// Where appends are measured: the disk, and memory if there is such a place.
  var places: [(label: String, parent: String)] {
    var places = [(label: "disk", parent: dataPath)]
    if let memoryPath, access(memoryPath, W_OK) == 0 { places.append((label: "tmpfs", parent: memoryPath)) }
    return places
  }
}
