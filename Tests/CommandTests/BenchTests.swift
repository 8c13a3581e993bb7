import CKVDBCommand
import Foundation
import Testing

struct BenchTests {
  private static let shape = [
    "bench", "--positions", "40", "--pool", "16", "--width", "12", "--candidates", "3", "--heads", "2", "--users", "5",
    "--seconds", "0.2",
  ]
  private static let functions = ["softmax", "topk", "select", "simhash", "sdim", "sdim_sum", "silu", "silu_bias"]

  private static let setFunctions = functions.filter { !$0.hasPrefix("sdim") }

  private func measured() throws -> [String: Any] {
    let folder = try Folder()
    let run = try folder.ckvdb(Self.shape + ["--json"])
    #expect(run.status == 0 && run.complaint.isEmpty, "\(run.complaint)")
    #expect(try folder.shell("ls -A | grep -v '[.]\\(in\\|out\\|err\\)$'").output.isEmpty, "nothing stays")
    return try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
  }

  @Test func `the JSON object has its names, and times of every operation that agree with one another`() throws {
    let object = try measured()
    #expect(
      object.keys.sorted() == [
        "append", "attend", "attend_candidate_set", "bytes_per_position", "copy", "machine", "pool_bytes", "read",
        "reconstruct", "set",
        "shape", "version", "write",
      ])
    let (copy, write) = (try times(object["copy"]), try times(object["write"]))
    let attend = try #require(object["attend"] as? [String: Any])
    let sets = try #require(object["attend_candidate_set"] as? [String: Any])
    let append = try #require(object["append"] as? [String: Any])
    #expect(attend.keys.sorted() == Self.functions.sorted())
    #expect(sets.keys.sorted() == Self.setFunctions.sorted())
    #expect(append.keys.sorted() == ["batch", "single"])
    let read: [Any?] =
      Self.functions.map { attend[$0] } + Self.setFunctions.map { sets[$0] } + [object["reconstruct"], object["read"]]
    for own in read {
      try check(own, of: copy, "copy")
    }
    for own in append.values { try check(own, of: write, "write") }
  }

  @Test func `the JSON object tells the shape and how large everything was`() throws {
    let object = try measured()
    let shape = try #require(object["shape"] as? [String: Any])
    for (name, value) in [("positions", 40), ("pool", 16), ("width", 12), ("candidates", 3), ("heads", 2)] {
      #expect(shape[name] as? Int == value, "\(name)")
    }
    let set = try #require(object["set"] as? [String: Any])
    let machine = try #require(object["machine"] as? [String: Any])
    #expect(set["users"] as? Int == 5 && set["full_bytes"] as? Int == 5 * 40 * 2 * 12 * 2)
    let cache = try #require(machine["last_level_cache_bytes"] as? Int)
    #expect(try number(set, "last_level_caches") == Double(5 * 40 * 2 * 12 * 2) / Double(cache))
    let bytes = try #require(object["bytes_per_position"] as? [String: Any])
    #expect(bytes["full_f16"] as? Int == 48)
    #expect(try number(bytes, "ratio") == number(bytes, "stored") / 48)
    #expect(try number(bytes, "stored") > 9, "4 numbers in f16 and two indices of 4 bits")
    #expect(try number(object, "pool_bytes") > Double(2 * 16 * 10 * 2))
  }

  private func check(_ own: Any?, of base: (middle: Double, slow: Double), _ name: String) throws {
    let (middle, slow) = try times(own)
    let members = try #require(own as? [String: Any])
    #expect(abs(try number(members, "p50_of_\(name)") / (middle / base.middle) - 1) < 1e-9)
    #expect(abs(try number(members, "p99_of_\(name)") / (slow / base.slow) - 1) < 1e-9)
  }

  private func times(_ value: Any?) throws -> (middle: Double, slow: Double) {
    let members = try #require(value as? [String: Any])
    let (middle, slow) = (try number(members, "p50_seconds"), try number(members, "p99_seconds"))
    #expect(middle > 0 && slow >= middle && slow < 60)
    #expect(try number(members, "calls") >= 3)
    return (middle, slow)
  }

  private func number(_ object: [String: Any], _ name: String) throws -> Double {
    try #require((object[name] as? NSNumber)?.doubleValue, "\(name)")
  }

  @Test func `for people there is a line per operation with times and ratios`() throws {
    let run = try Folder().ckvdb(Self.shape)
    #expect(run.status == 0 && run.complaint.isEmpty, "\(run.complaint)")
    #expect(
      run.output.hasPrefix(
        """
        K and V of 12 numbers each, 2 heads: 2 a user's own, 10 from a pool of 16 rows, f16
        5 users of 40 positions; their full K and V: 9.6 kB, 0.0 times the last-level cache of \

        """), "\(run.output)")
    #expect(run.output.contains("(less than four times: parts of it may stay in the cache)\n"))
    #expect(run.output.contains("a position takes 48 bytes of full K and V, "))
    let functions =
      Self.functions.map { "attend " + $0.replacing("_", with: "-") + ", 3 queries" }
      + Self.setFunctions.map { "attend " + $0.replacing("_", with: "-") + ", candidate set" }
    for name in ["copy full K and V"] + functions + ["append 1 position", "append 256 positions"] {
      let line = run.output.split(separator: "\n").first { $0.hasPrefix("  " + name + " ") } ?? ""
      let isWhole = line.wholeMatch(of: #/.* +[\d.,]+ [mu]?s +[\d.,]+ [mu]?s +[\d.,]+/#) != nil
      #expect(isWhole, "\(name): \(run.output)")
    }
    #expect(run.output.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  @Test(arguments: [
    (["--positions", "0"], "--positions is 0, expected 1 to 1000000."),
    (["--pool", "0"], "--pool is 0, expected 1 to 1048576."),
    (["--width", "3"], "--width is 3, expected 4 to 4096."),
    (["--candidates", "0"], "--candidates is 0, expected 1 to 10000."),
    (["--heads", "0"], "--heads is 0, expected 1 to 256."),
    (["--heads", "3"], "--heads is 3, which does not divide the width of 256."),
    (["--pool", "300000"], "--pool is 300000, expected at most 262144 with a width of 256."),
    (
      ["--candidates", "10000", "--positions", "100000", "--heads", "4"],
      "--candidates is 10000, expected at most 2684 with 100,000 positions and 4 heads."
    ),
    (["--users", "0"], "--users is 0, expected 1 to "),
    (["--seconds", "0"], "--seconds is 0.0, expected 0.1 to 3600."),
    (["--seconds", "nan"], "--seconds is nan, expected 0.1 to 3600."),
    (["--width", "wide"], "The value 'wide' is invalid for '--width <numbers>'"),
  ])
  func `a shape that makes no sense is refused with the option's name`(arguments: [String], message: String) throws {
    let folder = try Folder()
    let run = try folder.ckvdb(["bench"] + arguments)
    #expect(run.status == 64 && run.output.isEmpty)
    #expect(run.complaint.hasPrefix("ckvdb: \(message)"), "\(run.complaint)")
    #expect(try folder.shell("ls -d ckvdb-*").output.isEmpty)
  }

  private static let machine = BenchMachine(coreCount: 2, cacheByteCount: 1 << 25, memoryByteCount: 1 << 30)

  @Test func `a history that a quarter of the memory does not hold is refused`() throws {
    let shape = { BenchShape(positions: $0, pool: 8, width: 1_024, candidates: 1, heads: 1) }
    #expect(throws: Never.self) { try shape(65_536).validate(on: Self.machine) }
    #expect(throws: (any Error).self) { try shape(65_537).validate(on: Self.machine) }
  }

  @Test(arguments: [
    // Four caches; a quarter of the memory; so many positions and so many users at most; at least one.
    (1_000, 256, 132), (60_000, 1_024, 1), (1_000, 4, 2_000), (1, 4, 200_000), (65_536, 1_024, 1),
  ])
  func `there are as many users as the cache asks for and the memory allows`(
    positions: Int, width: Int, users: Int
  ) {
    let shape = BenchShape(positions: positions, pool: 8, width: width, candidates: 1, heads: 1)
    #expect(shape.userCount(on: Self.machine) == users)
  }

  @Test func `one query has its candidate set too, and the cache is one that a core can fill`() throws {
    let run = try Folder().ckvdb(
      ["bench", "--positions", "40", "--width", "12", "--users", "2", "--seconds", "0.1", "--json"])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    let sets = try #require(object["attend_candidate_set"] as? [String: Any])
    #expect(sets.keys.sorted() == Self.setFunctions.sorted())
    let machine = try #require(object["machine"] as? [String: Any])
    let cache = try #require(machine["last_level_cache_bytes"] as? Int)
    let sizes = try Folder().shell("cat /sys/devices/system/cpu/cpu0/cache/index*/size 2>/dev/null").output
      .split(separator: "\n").compactMap { Int($0.dropLast()) }
    #expect(sizes.max().map { $0 << 10 == cache } ?? (cache > 0), "\(sizes)")
  }

  @Test(arguments: ["INT", "TERM"])
  func `a signal ends it and leaves nothing`(signal: String) throws {
    let folder = try Folder()
    // Job control, or the shell has background jobs ignore SIGINT.
    let run = try folder.shell(
      """
      set -m; '\(Command.path)' bench --positions 20 --users 4 --width 8 --pool 8 --seconds 60 >out 2>err & p=$!
      for i in $(seq 200); do ls ckvdb-bench-*/bench.ckv >/dev/null 2>&1 && break; sleep 0.05; done
      ls -d ckvdb-bench-* | wc -l; kill -\(signal) $p; wait $p; echo $?; ls -d ckvdb-* 2>/dev/null; cat out err
      """)
    #expect(run.output == "1\n\(signal == "INT" ? 130 : 143)\n", "\(run.output)\(run.complaint)")
  }

  @Test func `a folder that cannot be made is an error with its path`() throws {
    let run = try Folder().shell("TMPDIR=/nowhere ckvdb bench --users 1")
    #expect(run.status == 74 && run.complaint.hasPrefix("ckvdb: /nowhere/ckvdb-bench-"), "\(run.complaint)")
  }
}
