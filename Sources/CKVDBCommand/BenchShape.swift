/// The shape that `ckvdb bench` measures: what its options may be, and what follows from them and from the machine. It
/// refuses shapes that no model has or that this machine cannot hold, with the option's name.

internal import ArgumentParser
internal import CacheTypes
internal import Glibc

/// A checked shape.
package struct BenchShape: Equatable {
  /// n: positions of each user.
  var positions: Int
  /// m: rows of the key pool, and of the value pool.
  var pool: Int
  /// d: width of a full key, and of a full value.
  var width: Int
  /// C: queries of one request.
  var candidates: Int
  var heads: Int
  /// Users of the store; `nil`: so many that their full K and V are four times the last-level cache.
  var users: Int?

  package init(positions: Int, pool: Int, width: Int, candidates: Int, heads: Int, users: Int? = nil) {
    self.positions = positions
    self.pool = pool
    self.width = width
    self.candidates = candidates
    self.heads = heads
    self.users = users
  }

  /// d_u, d_e, and what the selecting and hashing functions use.
  static let userWidth = 2
  static let embeddingWidth = 64
  static let top = 100
  static let simhashBits = 16
  static let sdimGroups = 8
  static let sdimBits = 4
  static let batchCount = 256
  /// What the tables of one candidate set may take.
  static let tableByteLimit = 64 << 20

  private static let poolNumberLimit = 1 << 26
  private static let scoreLimit = 1 << 30
  private static let userLimit = 200_000
  private static let positionLimit = 2_000_000

  var poolWidth: Int { width - Self.userWidth }
  /// Bytes of the full K and V of one position, and of one user, in f16.
  var fullByteCountPerPosition: Int { 2 * width * 2 }
  var fullByteCount: Int { positions * fullByteCountPerPosition }

  package func validate(on machine: BenchMachine) throws {
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
      guard range.contains(value) else {
        throw ValidationError("--\(name) is \(value), expected \(range.lowerBound) to \(range.upperBound).")
      }
    }
    try check("positions", positions, 1...1_000_000)
    try check("pool", pool, 1...1_048_576)
    try check("width", width, 4...4_096)
    try check("candidates", candidates, 1...10_000)
    try check("heads", heads, 1...width)
    guard width.isMultiple(of: heads) else {
      throw ValidationError("--heads is \(heads), which does not divide the width of \(width).")
    }
    guard pool * width <= Self.poolNumberLimit else {
      throw ValidationError(
        "--pool is \(pool), expected at most \(Self.poolNumberLimit / width) with a width of \(width).")
    }
    guard candidates * heads <= Self.scoreLimit / positions else {
      throw ValidationError(
        "--candidates is \(candidates), expected at most \(Self.scoreLimit / positions / heads) with "
          + "\(NumberText.count(positions, "position")) and \(NumberText.count(heads, "head")).")
    }
    guard fullByteCount <= machine.spareByteCount else {
      throw ValidationError(
        "--positions is \(positions), expected at most \(machine.spareByteCount / fullByteCountPerPosition): full K "
          + "and V of one user may take a quarter of the memory, \(NumberText.bytes(machine.spareByteCount)).")
    }
    if let users { try check("users", users, 1...userLimit(on: machine)) }
  }

  /// How many users there are, if nobody says: so many that their full K and V are four times the last-level cache, or
  /// as many as a quarter of the memory and a short run allow.
  package func userCount(on machine: BenchMachine) -> Int {
    if let users { return users }
    let wanted = (4 * machine.cacheByteCount + fullByteCount - 1) / fullByteCount
    return max(1, min(wanted, userLimit(on: machine), Self.positionLimit / positions))
  }

  private func userLimit(on machine: BenchMachine) -> Int {
    min(machine.spareByteCount / fullByteCount, Self.userLimit)
  }
}

/// What of the machine matters.
package struct BenchMachine: Equatable {
  var coreCount: Int
  /// The last-level cache.
  var cacheByteCount: Int
  var memoryByteCount: Int

  package init(coreCount: Int, cacheByteCount: Int, memoryByteCount: Int) {
    self.coreCount = coreCount
    self.cacheByteCount = cacheByteCount
    self.memoryByteCount = memoryByteCount
  }

  /// What full keys and values may take.
  var spareByteCount: Int { memoryByteCount / 4 }

  /// This one. A cache that the system does not tell is taken to be of 32 MiB.
  static func current() -> BenchMachine {
    let installed = max(sysconf(Int32(_SC_PHYS_PAGES)), 1) * max(sysconf(Int32(_SC_PAGESIZE)), 1)
    return BenchMachine(
      coreCount: max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1),
      cacheByteCount: lastLevelCacheByteCount() ?? 32 << 20,
      memoryByteCount: min(installed, grantedByteCount() ?? installed))
  }

  /// The last cache that data of one core can be in. `sysconf` adds up the caches of all groups of cores, which no core
  /// can fill; it is asked where the system does not describe the first core's.
  private static func lastLevelCacheByteCount() -> Int? {
    let own = (0..<8).compactMap { number -> (level: Int, byteCount: Int)? in
      let folder = "/sys/devices/system/cpu/cpu0/cache/index\(number)"
      guard let level = line(of: folder + "/level").flatMap({ Int($0) }),
        let size = line(of: folder + "/size"), size.hasSuffix("K"), let kibibytes = Int(size.dropLast()),
        kibibytes > 0, kibibytes < 1 << 30
      else { return nil }
      return (level, kibibytes << 10)
    }
    if let last = own.max(by: { $0.level < $1.level }) { return last.byteCount }
    let names = [Int32(_SC_LEVEL4_CACHE_SIZE), Int32(_SC_LEVEL3_CACHE_SIZE), Int32(_SC_LEVEL2_CACHE_SIZE)]
    return names.map { sysconf($0) }.first { $0 > 0 }
  }

  /// The memory that a container grants; `nil` without a limit.
  private static func grantedByteCount() -> Int? {
    line(of: "/sys/fs/cgroup/memory.max").flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
  }

  /// The first line of a file of the system; `nil` if there is none.
  private static func line(of path: String) -> String? {
    guard let bytes = try? ByteSource(path: path).read() else { return nil }
    return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
  }
}
