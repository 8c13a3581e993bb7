/// What one core of this machine does at best, measured by the loops of `CPeaks`: multiply-adds, widened f16 numbers,
/// lookups and updates of a small table, bytes read and written in every cache and in memory. All per nanosecond.

import CPeaks
import Glibc

struct Peaks {
  /// Where a working set lies.
  enum Place: Int, CaseIterable {
    case first, second, third, memory

    var name: String { ["L1", "L2", "L3", "memory"][rawValue] }
  }

  private(set) var multiplyAdds: Double
  /// 0 where there is no instruction for it.
  private var halves: Double
  private var bfloats: Double
  private(set) var lookups: Double
  private(set) var updates: Double
  private(set) var read: [Double]
  private(set) var written: [Double]
  /// Bytes of the first, the second and the last cache.
  private let caches: [Int]

  init(_ level: peak_level, _ options: Options) throws {
    let samples = options.sized(3, 100)
    let caches = Machine.cacheByteCounts
    self.caches = caches
    let lanes = Double(peak_lanes(level))
    let steps = 20_000
    multiplyAdds = Self.best(samples, Double(steps) * 12 * lanes) {
      BlackHole.take(UInt64(peak_multiply_add(level, steps).bitPattern))
    }
    let small = Buffer(byteCount: 16 << 10)
    let rounds = 40
    func widening(_ isBFloat: Bool) -> Double {
      guard level != PEAK_SERIAL else { return 0 }
      return Self.best(samples, Double(small.byteCount / 2 * rounds)) {
        BlackHole.take(UInt64(peak_widen(level, isBFloat, small.start, small.byteCount, rounds).bitPattern))
      }
    }
    (halves, bfloats) = (widening(false), widening(true))
    // A permutation: no place twice in a row.
    let count = 1_024
    var random = SplitMix(seed: 1)
    let places = (0..<UInt32(count)).shuffled(using: &random)
    var table = [UInt32](repeating: 1, count: count)
    lookups = Self.best(samples, Double(count * rounds)) { BlackHole.take(peak_look_up(table, places, count, rounds)) }
    updates = Self.best(samples, Double(count * rounds)) {
      BlackHole.take(peak_update(&table, places, count, rounds))
    }
    var (read, written) = ([Double](), [Double]())
    for place in Place.allCases {
      // Well inside a cache: pages that lie badly make a half of it too much.
      let parts = place == .first ? 2 : 4
      let wanted = place == .memory ? options.sized(1, 4) * caches[2] : caches[place.rawValue] / parts
      let buffer = Buffer(byteCount: wanted / Int(PEAK_BYTES) * Int(PEAK_BYTES))
      let byteCount = buffer.byteCount
      let rounds = max(1, options.sized(1 << 20, 16 << 20) / 8 / byteCount)
      let samples = place == .memory ? options.sized(1, 8) : samples
      // Asking ahead helps from where the processor does not do it by itself.
      let reads = [0, 4_096].map { ahead in
        Self.best(samples, Double(byteCount * rounds)) {
          BlackHole.take(peak_read(level, buffer.start, byteCount, rounds, ahead))
        }
      }
      read.append(reads.max() ?? .nan)
      written.append(
        Self.best(samples, Double(byteCount * rounds)) {
          BlackHole.take(peak_write(level, buffer.start, byteCount, rounds))
        })
    }
    (self.read, self.written) = (read, written)
  }

  /// The better of two measurements, one by one: what disturbs a machine comes and goes.
  mutating func take(_ other: Peaks) {
    multiplyAdds = max(multiplyAdds, other.multiplyAdds)
    (halves, bfloats) = (max(halves, other.halves), max(bfloats, other.bfloats))
    (lookups, updates) = (max(lookups, other.lookups), max(updates, other.updates))
    read = zip(read, other.read).map(max)
    written = zip(written, other.written).map(max)
  }

  /// Numbers of a format that can be widened; without bound where nothing is measured.
  func widened(_ format: KernelFormat) -> Double {
    let measured = format == .f16 ? halves : format == .bf16 ? bfloats : 0
    return measured > 0 ? measured : .infinity
  }

  /// Where a working set of so many bytes lies, if it is used over and over: in a cache up to three quarters of it.
  func place(ofSet byteCount: Int) -> Place {
    Place(rawValue: caches.firstIndex { byteCount <= $0 / 4 * 3 } ?? 3) ?? .memory
  }

  func report(to report: Report) {
    report.measured("peak: multiply-adds", multiplyAdds, "per ns")
    report.measured("peak: f16 numbers widened", halves, "per ns")
    report.measured("peak: bf16 numbers widened", bfloats, "per ns")
    report.measured("peak: lookups in a small table", lookups, "per ns")
    report.measured("peak: updates of a small table", updates, "per ns")
    for place in Place.allCases {
      report.measured("peak: bytes read, \(place.name)", read[place.rawValue], "per ns")
      report.measured("peak: bytes written, \(place.name)", written[place.rawValue], "per ns")
    }
  }

  /// So many things done, over the nanoseconds of the fastest of some runs.
  private static func best(_ samples: Int, _ count: Double, _ body: () -> Void) -> Double {
    body()
    return count / ((0..<samples).map { _ in Clock.seconds(body) }.min() ?? .nan) * 1e-9
  }

  /// Memory of normal numbers, whatever they are read as; freed once.
  private final class Buffer {
    let start: UnsafeMutableRawPointer
    let byteCount: Int

    init(byteCount: Int) {
      self.byteCount = byteCount
      // In one piece of memory, if the system gives it: scattered pages may compete for the same lines of a cache.
      let page = 2 << 20
      start = .allocate(byteCount: (byteCount + page - 1) / page * page, alignment: page)
      madvise(start, page, MADV_HUGEPAGE)
      memset(start, 0x3C, byteCount)
    }

    deinit { start.deallocate() }
  }
}
