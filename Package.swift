// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("ExistentialAny"),
]

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, exclude: exclude, resources: resources,
    swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")])
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
    .target(name: "CPageVFS", dependencies: ["CSQLite", "CXXHash"]),
    .target(name: "CKernels"),

    // The engine. Imports point down only: ARCHITECTURE.md, and a tidy test holds it.
    module("CacheTypes", ["CXXHash"]),
    module("PoolStorage", ["CacheTypes"]),
    module("RowStorage", ["CacheTypes", "CSQLite", "CPageVFS"]),
    module("KVRuntime", ["CacheTypes", "CKernels"]),
    module("CollectiveKV", ["CacheTypes", "PoolStorage", "RowStorage", "KVRuntime"]),
    .executableTarget(
      name: "CKVDBCommand",
      dependencies: [
        "CollectiveKV", "CZlib",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings),

    tests("CacheTypesTests", ["CacheTypes"]),
    tests("PoolStorageTests", ["PoolStorage", "CacheTypes"]),
    tests("PageVFSTests", ["CPageVFS", "CSQLite", "CXXHash"]),
    tests("RowStorageTests", ["RowStorage", "CacheTypes", "CSQLite"]),
    tests("KVRuntimeTests", ["KVRuntime", "CacheTypes", "CKernels"]),
    tests("CollectiveKVTests", ["CollectiveKV"]),
    tests("CommandTests", ["CollectiveKV", "CKVDBCommand"]),
  ]
)
