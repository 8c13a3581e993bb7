/// Clocks, samples and the memory of this process.

import Glibc

enum Clock {
  /// Seconds of a clock that only moves forward.
  static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// Processor seconds that all threads of this process have used.
  static func processor() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  static func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = now()
    try body()
    return now() - start
  }
}

/// Times of one operation, in seconds.
struct Samples {
  private(set) var seconds: [Double] = []

  mutating func add(_ value: Double) { seconds.append(value) }

  mutating func measure(_ body: () throws -> Void) rethrows { add(try Clock.seconds(body)) }

  /// The value below which `part` of the samples lie.
  func quantile(_ part: Double) -> Double {
    guard !seconds.isEmpty else { return .nan }
    let sorted = seconds.sorted()
    return sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))]
  }

  var median: Double { quantile(0.5) }
  var mean: Double { seconds.reduce(0, +) / Double(seconds.count) }
}

/// Memory of this process, in bytes, from /proc/self/status.
enum ProcessMemory {
  /// Resident now.
  static var resident: Int { field("VmRSS:") }
  /// The most that ever was resident.
  static var peak: Int { field("VmHWM:") }
  /// Resident now and not backed by a file.
  static var anonymous: Int { field("RssAnon:") }

  private static func field(_ name: String) -> Int {
    for line in (Files.readText("/proc/self/status") ?? "").split(separator: "\n") where line.hasPrefix(name) {
      let words = line.split { $0 == " " || $0 == "\t" }
      return words.count > 1 ? (Int(words[1]) ?? 0) * 1_024 : 0
    }
    return 0
  }
}

/// Something whose result counts, so that the optimiser keeps the work that made it.
enum BlackHole {
  nonisolated(unsafe) private static var sink: UInt64 = 0
  @inline(never) static func take(_ value: UInt64) { sink = sink &* 31 &+ value }
}
