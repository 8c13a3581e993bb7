// swift-tools-version: 6.2
import PackageDescription

// Warnings stop our own builds (`make check`), never those of a package that depends on this one.
let isStrict = Context.environment["CKVDB_STRICT"] == "1"
let warnings: [SwiftSetting] = isStrict ? [.treatAllWarnings(as: .error)] : []
let cSettings: [CSetting] =
  isStrict ? [.enableWarning("all"), .enableWarning("extra"), .treatAllWarnings(as: .error)] : []

let swiftSettings: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
  ] + warnings

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  // Without Foundation nothing else brings in the C library's mathematics.
  .target(
    name: name, dependencies: dependencies, swiftSettings: swiftSettings,
    linkerSettings: [.linkedLibrary("m", .when(platforms: [.linux]))])
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = [], resources: [Resource] = []
) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, exclude: exclude, resources: resources,
    swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")] + warnings)
}

let package = Package(
  name: "ckvdb",
  products: [
    .library(name: "CollectiveKV", targets: ["CollectiveKV"]),
    .executable(name: "ckvdb", targets: ["CKVDBCommand"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
  ],
  targets: [
    // The system's libraries and our C, lowest first.
    .systemLibrary(
      name: "CSQLite", pkgConfig: "sqlite3",
      providers: [.apt(["libsqlite3-dev"]), .brew(["sqlite"])]),
    .systemLibrary(
      name: "CXXHash", pkgConfig: "libxxhash",
      providers: [.apt(["libxxhash-dev"]), .brew(["xxhash"])]),
    .systemLibrary(
      name: "CZlib", pkgConfig: "zlib",
      providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .target(name: "CMapGuard", cSettings: cSettings),
    .target(name: "CPageVFS", dependencies: ["CSQLite", "CXXHash"], cSettings: cSettings),
    .target(name: "CKernels", cSettings: cSettings),

    // The engine. Imports point down only: ARCHITECTURE.md, and a tidy test holds it.
    module("CacheTypes", ["CXXHash", "CMapGuard"]),
    module("PoolStorage", ["CacheTypes"]),
    module("RowStorage", ["CacheTypes", "CSQLite", "CPageVFS", "CKernels"]),
    module("KVRuntime", ["CacheTypes", "CKernels"]),
    module("CollectiveKV", ["CacheTypes", "PoolStorage", "RowStorage", "KVRuntime"]),
    .executableTarget(
      name: "CKVDBCommand",
      dependencies: [
        "CollectiveKV", "PoolStorage", "CacheTypes", "CZlib",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings),

    // Ways through attention that no caller can choose: a benchmark that needs the package's inside.
    .executableTarget(
      name: "AttendPaths", dependencies: ["KVRuntime", "CacheTypes", "CKernels"],
      path: "benchmarks/Sources/AttendPaths",
      swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")] + warnings),

    // The file calls of test processes; no product links it.
    .target(name: "CFileShim", path: "Tests/CFileShim", cSettings: cSettings),
    tests("CacheTypesTests", ["CacheTypes"]),
    tests("PoolStorageTests", ["PoolStorage", "CacheTypes"]),
    tests("PageVFSTests", ["CPageVFS", "CSQLite", "CXXHash"]),
    tests("RowStorageTests", ["RowStorage", "CacheTypes", "CSQLite"]),
    tests("KVRuntimeTests", ["KVRuntime", "CacheTypes", "CKernels"]),
    tests("CollectiveKVTests", ["CollectiveKV", "PoolStorage", "CSQLite", "CFileShim"], exclude: ["Cases"]),
    tests(
      "CommandTests", ["CollectiveKV", "PoolStorage", "CacheTypes", "CKVDBCommand", "CSQLite", "CZlib"],
      exclude: ["Snapshots"]),
    tests(
      "FuzzTests", ["CollectiveKV", "PoolStorage", "RowStorage", "CacheTypes", "CKVDBCommand", "CSQLite"],
      exclude: ["Corpus"]),
    tests("TidyTests"),
  ]
)
