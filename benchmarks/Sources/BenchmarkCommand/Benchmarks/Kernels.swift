/// Every kernel of ckvdb at the level in use beside its floor: the longest of what its operations take at the measured
/// peak and what its bytes take at the measured bandwidth of the cache that its working set lies in. Fastest runs,
/// since peaks are such too. Kernels are no public interface: this benchmark alone reaches below it.

import CKernels
import CPeaks

enum KernelsBenchmark {
  /// What a call does at least, and the bytes that it touches.
  struct Work {
    /// Operations on numbers, a multiply-add being one.
    var operations = 0.0
    /// Numbers that are widened, and from what; from f32 none are.
    var widened = 0.0
    var from = KernelFormat.f32
    /// Numbers that are found through an index, and numbers of a table that something is added to.
    var lookups = 0.0
    var updates = 0.0
    var read = 0.0
    var written = 0.0
    /// Bytes of the working set, if more than what is read and written.
    var setByteCount: Int?
  }

  /// A kernel with its arguments.
  struct Case {
    var name: String
    var shape: String
    var work: Work
    var run: () -> Void
  }

  static func run(_ options: Options) throws {
    let report = Report("kernels", options)
    let (level, name) = self.level
    // The other levels are there for correctness on older processors.
    let isJudged = level == PEAK_AVX512
    report.parameter("level", .string(name))
    report.progress("measuring peaks and kernels by turns")
    var peaks = try Peaks(level, options)
    let memory = KernelMemory(seed: options.seed)
    let cases = KernelCases(memory, options).all
    var times = cases.map { _ in Double.infinity }
    for _ in 0..<options.sized(1, 5) {
      for (place, one) in cases.enumerated() { times[place] = min(times[place], nanoseconds(one, options)) }
      peaks.take(try Peaks(level, options))
    }
    peaks.report(to: report)
    var (shapes, bounds, reasons) = ([(String, JSON)](), [(String, JSON)](), [(String, JSON)]())
    for (one, time) in zip(cases, times) {
      let floor = self.floor(one.work, peaks)
      report.measured("\(one.name): time", time, "ns")
      report.measured("\(one.name): floor", floor.nanoseconds, "ns")
      // A kernel may take more only with a written reason.
      let reason = KernelReasons.all[one.name]
      report.figure(
        "\(one.name): time / floor", time / floor.nanoseconds, must: isJudged && reason == nil ? .atMost(2) : nil)
      shapes.append((one.name, .string(one.shape)))
      bounds.append((one.name, .string(floor.bound)))
      if let reason { reasons.append((one.name, .string(reason))) }
    }
    report.parameter("shapes", .object(shapes))
    report.parameter("boundBy", .object(bounds))
    report.parameter("reasons", .object(reasons))
    try withExtendedLifetime(memory) { try report.finish() }
  }

  private static var level: (peak_level, String) {
    let active = ckv_kernels_active()
    if active == ckv_kernels_at(CKV_AVX512) { return (PEAK_AVX512, "AVX-512") }
    return active == ckv_kernels_at(CKV_AVX2) ? (PEAK_AVX2, "AVX2") : (PEAK_SERIAL, "serial")
  }

  private static func floor(_ work: Work, _ peaks: Peaks) -> (nanoseconds: Double, bound: String) {
    let place = peaks.place(ofSet: work.setByteCount ?? Int(work.read + work.written))
    // What is written is fetched first, if it is not in the first cache.
    let fetched = place == .first ? work.read : work.read + work.written
    let parts = [
      (work.operations / peaks.multiplyAdds, "operations"),
      (work.widened / peaks.widened(work.from), "widening"),
      (work.lookups / peaks.lookups, "lookups"), (work.updates / peaks.updates, "updates"),
      (fetched / peaks.read[place.rawValue], "bytes from \(place.name)"),
      (work.written / peaks.written[place.rawValue], "bytes to \(place.name)"),
    ]
    return parts.max { $0.0 < $1.0 } ?? (.nan, "")
  }

  /// The fastest of many runs of some tens of microseconds.
  private static func nanoseconds(_ one: Case, _ options: Options) -> Double {
    one.run()
    let once = max(Clock.seconds(one.run), 2e-8)
    let calls = max(1, min(5_000, Int(options.sized(1e-5, 1e-4) / once)))
    let samples = (0..<options.sized(3, once > 1e-3 ? 15 : 150)).map { _ in
      Clock.seconds { for _ in 0..<calls { one.run() } }
    }
    return (samples.min() ?? .nan) / Double(calls) * 1e9
  }
}
