import Testing

struct HelpTests {
  @Test(arguments: ["init", "append", "attend", "dump", "delete", "vacuum", "verify", "stat", "bench", "demo"])
  func `a command's help is as kept`(name: String) throws {
    let run = try Folder().ckvdb(name, "--help")
    #expect(run.output == (try Snapshot.text("help-\(name)")))
    #expect(run.status == 0 && run.complaint.isEmpty)
    #expect(run.output.contains("  ckvdb \(name) "), "the help shows an example")
    #expect(run.output.split(separator: "\n").allSatisfy { $0.count <= 80 || $0.hasPrefix("USAGE") })
  }

  @Test(arguments: [[], ["--help"], ["help"]])
  func `without a command the help is shown`(arguments: [String]) throws {
    let run = try Folder().ckvdb(arguments)
    #expect(run.output == (try Snapshot.text("help")))
    #expect(run.status == 0)
  }

  @Test func `the version names the format and SQLite`() throws {
    let run = try Folder().ckvdb("--version")
    #expect(run.status == 0)
    #expect(run.output.wholeMatch(of: #/ckvdb 0\.1\.0, format version 1, SQLite 3\.\d+\.\d+\n/#) != nil)
  }

  static let usages: [([String], String)] = [
    (["nearest"], "The value 'nearest' is invalid for '--attention <name>'"),
    (["topk"], "--attention topk needs --top."),
    (["select", "--select-layer", "1"], "--attention select needs --top."),
    (["simhash"], "--attention simhash needs --top."),
    (["topk", "--top", "0"], "--top is 0, expected at least 1."),
    (["softmax", "--top", "5"], "--top goes with topk, select and simhash, not softmax."),
    (["sdim", "--top", "5"], "--top goes with topk, select and simhash, not sdim."),
    (["topk", "--top", "5", "--divisor", "2"], "--divisor goes with silu and silu-bias, not topk."),
    (["silu", "--divisor", "0"], "--divisor is 0.0, expected a finite number other than 0."),
    (["silu-bias", "--divisor", "inf"], "--divisor is inf, expected a finite number other than 0."),
    (["topk", "--top", "5", "--select-layer", "1"], "--select-layer goes with select, not topk."),
    (["select", "--top", "5", "--select-layer=-1"], "--select-layer is -1, expected 0 or more."),
    (["sdim-sum", "--scale", "2"], "--scale does not go with sdim-sum."),
  ]

  @Test(arguments: usages)
  func `an attention function's options are its own`(arguments: [String], message: String) throws {
    let run = try Folder().ckvdb(["attend", "s", "--queries", "q", "--output", "o", "--attention"] + arguments)
    #expect(run.status == 64 && run.output.isEmpty)
    #expect(run.complaint.hasPrefix("ckvdb: \(message)"), "\(run.complaint)")
  }

  @Test(arguments: [
    (["frobnicate"], "Unexpected argument 'frobnicate'"),
    (["stat"], "Missing expected argument '<store>'"),
    (["stat", "s", "--jason"], "Unknown option '--jason'"),
    (["init", "s"], "Missing expected argument '--model <file>'"),
    (["init", "s", "--model", "m", "--element", "f8"], "The value 'f8' is invalid for '--element <element>'"),
    (
      ["init", "s", "--model", "m", "--page-size", "5000"],
      "--page-size is 5000, expected 4096, 8192, 16384, 32768 or 65536."
    ),
    (["vacuum", "s", "--page-size", "512"], "--page-size is 512, expected 4096, 8192, 16384, 32768 or 65536."),
    (["append", "s"], "Give either --input or --events."),
    (["append", "s", "--input", "i", "--events", "e"], "Give either --input or --events."),
    (["append", "s", "--events", "e", "--batch", "0"], "--batch is 0, expected at least 1."),
    (["append", "s", "--events", "e", "--repeats", "maybe"], "The value 'maybe' is invalid for '--repeats <repeats>'"),
    (["dump", "s", "--positions", "5..3"], "The value '5..3' is invalid for '--positions <range>'"),
    (["dump", "s", "--user", "bob"], "The value 'bob' is invalid for '--user <user>'"),
    (["dump", "s", "--format", "safetensors"], "--format safetensors needs --output FILE."),
    (
      ["attend", "s", "--queries", "q", "--output", "o", "--attention", "softmax", "--window", "0"],
      "--window is 0, expected at least 1."
    ),
    (
      ["attend", "s", "--queries", "q", "--output", "o", "--attention", "softmax", "--scale", "nan"],
      "--scale is nan, expected a finite number above 0."
    ),
    (["demo", "--events", "e"], "Give both --events and --model, or neither."),
    (["demo", "--users", "0"], "--users is 0, expected 1 to 10000000."),
  ])
  func `wrong usage is exit code 64 and says what is wrong`(arguments: [String], message: String) throws {
    let folder = try Folder()
    let run = try folder.ckvdb(arguments)
    #expect(run.status == 64)
    #expect(run.output.isEmpty)
    #expect(run.complaint.hasPrefix("ckvdb: \(message)"), "\(run.complaint)")
    #expect(run.complaint.contains("\nUsage: ckvdb"))
    #expect(
      try folder.bytes(below: ".").filter {
        !$0.key.hasSuffix(".in") && !$0.key.hasSuffix(".out") && !$0.key.hasSuffix(".err")
      }.isEmpty)
  }
}
