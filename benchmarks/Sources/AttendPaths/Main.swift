/// Times every way that attention can go, over a grid of lengths, pools, widths, heads and numbers of queries; says
/// which way is chosen, which was best, and what the choice costs; and fits the coefficients that choices are made by.
/// Part of the package itself, since no caller can choose a way.

import CKernels
import Glibc
import KVRuntime

@main
enum Main {
  static let usage = """
    usage: AttendPaths [--smoke] [--level avx512 | avx2 | serial] [--results DIR]

    Prints every shape's ways, then the coefficients as AttentionCosts+Measured.swift holds them, and writes
    attend-paths.json. Without --level all levels that this processor has are measured.

    """

  static func main() {
    var (isSmoke, level, results) = (false, String?.none, "benchmarks/results")
    var rest = CommandLine.arguments.dropFirst()
    while let word = rest.popFirst() {
      switch word {
      case "--smoke": isSmoke = true
      case "--level": level = rest.popFirst()
      case "--results": results = rest.popFirst() ?? results
      default: fail(usage)
      }
    }
    let levels: [(name: String, number: Int32, costs: AttentionCosts)] = [
      ("avx512", 2, .avx512), ("avx2", 1, .avx2), ("serial", 0, .serial),
    ]
    var measured: [JSON] = []
    for known in levels where level == nil || level == known.name {
      guard ckv_kernels_force(known.number) else { continue }
      measured.append(measure(known.name, known.costs, isSmoke))
    }
    _ = ckv_kernels_force(-1)
    let functions = Functions.measure(isSmoke)
    guard !measured.isEmpty else { fail("this processor has no such level\n") }
    let json = JSON.object([
      ("benchmark", .string("attend-paths")), ("size", .string(isSmoke ? "smoke" : "standard")),
      ("cpu", .string(processorName)), ("unit", .string("ns")), ("levels", .array(measured)), ("functions", functions),
    ])
    write(json.text() + "\n", to: "\(results)/attend-paths.json")
  }

  private static func measure(_ name: String, _ costs: AttentionCosts, _ isSmoke: Bool) -> JSON {
    print("\n\(name)\n   n      m      d  H   C   ns by way, * chosen")
    var samples: [Sample] = []
    let isSlow = name == "serial"
    for shape in Shape.grid(isSmoke, isSlow: isSlow) { samples += shape.measure(isSmoke, isSlow: isSlow) }
    var regrets: [(title: String, regret: Regret)] = [("C = 1", Regret()), ("C > 1", Regret())]
    for sample in samples {
      print(sample.line)
      regrets[sample.queries == 1 ? 0 : 1].regret.add(sample)
    }
    var members: [(String, JSON)] = [("level", .string(name))]
    for (title, regret) in regrets {
      print("\(title): \(regret.text)")
      members.append((title, regret.json))
    }
    let fit = Fit(samples, tile: costs.tile)
    print(fit.text(name))
    members.append(("coefficients", fit.json))
    members.append(("shapes", .array(samples.map(\.json))))
    return .object(members)
  }

  private static var processorName: String {
    guard let file = fopen("/proc/cpuinfo", "r") else { return "unknown" }
    defer { fclose(file) }
    var (name, family) = ("unknown", "")
    var line = [CChar](repeating: 0, count: 4_096)
    while fgets(&line, Int32(line.count), file) != nil {
      let words = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }.split(separator: ":")
      guard words.count == 2 else { continue }
      let value = words[1].drop { $0 == " " }.dropLast()
      if words[0].hasPrefix("model name") { name = String(value) }
      if words[0].hasPrefix("cpu family") { family = String(value) }
    }
    return "\(name) (family \(family))"
  }

  private static func write(_ text: String, to path: String) {
    guard let file = fopen(path, "w"), fputs(text, file) >= 0, fclose(file) == 0 else { fail("cannot write \(path)\n") }
  }

  static func fail(_ text: String) -> Never {
    _ = text.withCString { Glibc.write(2, $0, strlen($0)) }
    exit(1)
  }
}

/// What choices cost over the best way, over many shapes.
struct Regret {
  private var ratios: [Double] = []

  mutating func add(_ sample: Sample) { ratios.append(sample.regret) }

  private var sorted: [Double] { ratios.sorted() }
  private var mean: Double { ratios.reduce(0, +) / Double(ratios.count) }

  var text: String {
    let over = ratios.filter { $0 > 1.1 }.count
    return
      "chosen / best: mean \(rounded(mean, 3)), worst \(rounded(sorted.last!, 2)); \(over) of \(ratios.count) above 1.1"
  }

  var json: JSON {
    .object([
      ("meanOverBest", .number(mean)), ("worstOverBest", .number(sorted.last!)),
      ("above1.1", .integer(ratios.filter { $0 > 1.1 }.count)), ("shapes", .integer(ratios.count)),
    ])
  }
}

func rounded(_ value: Double, _ digits: Int) -> String {
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  return "\((value * scale).rounded() / scale)"
}
