/// What a result was measured on: read from the running system, never typed in.

import COpenBLAS
import CLMDB
import CollectiveKV
import Glibc

enum Machine {
  static func description(dataPath: String) -> JSON {
    .object([
      ("cpu", .string(cpuName)),
      ("cores", .integer(Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))),
      ("lastLevelCacheBytes", .integer(lastLevelCacheByteCount)),
      ("memoryBytes", .integer(memoryByteCount)),
      ("kernel", .string(field("/proc/sys/kernel/osrelease"))),
      ("fileSystem", .string(fileSystem(of: dataPath))),
    ])
  }

  static var versions: JSON {
    .object([
      ("sqlite", .string(sqliteVersion)),
      ("rocksdb", .string(loadedVersion(of: "librocksdb.so."))),
      ("lmdb", .string("\(MDB_VERSION_MAJOR).\(MDB_VERSION_MINOR).\(MDB_VERSION_PATCH)")),
      ("openblas", .string(String(cString: openblas_get_config()))),
    ])
  }

  /// What follows a library's name in the path that it was loaded from.
  private static func loadedVersion(of library: String) -> String {
    for line in (Files.readText("/proc/self/maps") ?? "").split(separator: "\n") {
      let file = line.split(separator: "/").last ?? ""
      if file.hasPrefix(library) { return String(file.dropFirst(library.count)) }
    }
    return "unknown"
  }

  /// The commit of the working directory, with "+" behind it if files differ from it.
  static var commit: String {
    let head = (try? Files.output(of: "git rev-parse --short=12 HEAD 2>/dev/null")) ?? ""
    let changes = (try? Files.output(of: "git status --porcelain --untracked-files=no 2>/dev/null")) ?? ""
    return head.isEmpty ? "unknown" : String(head.prefix { $0 != "\n" }) + (changes.isEmpty ? "" : "+")
  }

  /// Processes that ran or waited for the disk, on average over the last minute.
  static var loadAverage: Double {
    var averages = [0.0]
    return getloadavg(&averages, 1) == 1 ? averages[0] : .nan
  }

  static var memoryByteCount: Int { Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE))) }

  /// The last cache that data of one core can be in, as the kernel sees it. `sysconf` adds up the caches of all core
  /// groups of a package, which no core can fill.
  static let lastLevelCacheByteCount = cacheByteCounts[2]

  /// Bytes of the first core's first, second and last data cache.
  static let cacheByteCounts: [Int] = {
    let caches = (0..<8).compactMap { index -> (level: Int, byteCount: Int)? in
      let path = "/sys/devices/system/cpu/cpu0/cache/index\(index)"
      let size = field(path + "/size")
      guard field(path + "/type") != "Instruction", let level = Int(field(path + "/level")), size.hasSuffix("K"),
        let kibibytes = Int(size.dropLast())
      else { return nil }
      return (level, kibibytes << 10)
    }
    func byteCount(_ level: Int) -> Int? { caches.first { $0.level == level }?.byteCount }
    let last = caches.max { $0.level < $1.level }?.byteCount ?? 32 << 20
    return [byteCount(1) ?? 32 << 10, byteCount(2) ?? 1 << 20, last]
  }()

  private static var cpuName: String {
    let lines = (Files.readText("/proc/cpuinfo") ?? "").split(separator: "\n")
    let line = lines.first { $0.hasPrefix("model name") } ?? ""
    let family = lines.first { $0.hasPrefix("cpu family") } ?? ""
    return value(line) + " (family \(value(family)))"
  }

  private static func value(_ line: Substring) -> String {
    guard let colon = line.firstIndex(of: ":") else { return "unknown" }
    return String(line[line.index(after: colon)...].drop { $0 == " " })
  }

  private static func field(_ path: String) -> String {
    String((Files.readText(path) ?? "unknown").prefix { $0 != "\n" })
  }

  /// Type and mount point of the file system that holds a path.
  static func fileSystem(of path: String) -> String {
    let full = realpath(path, nil)
    defer { free(full) }
    let wanted = full.map { String(cString: $0) } ?? path
    var best = (point: "", type: "unknown")
    for line in (Files.readText("/proc/mounts") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 2 else { continue }
      let point = String(fields[1])
      let prefix = point == "/" ? point : point + "/"
      if (wanted + "/").hasPrefix(prefix), point.utf8.count >= best.point.utf8.count {
        best = (point, String(fields[2]))
      }
    }
    return "\(best.type) at \(best.point)"
  }
}
