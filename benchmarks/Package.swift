// swift-tools-version: 6.2
import PackageDescription

/// A package of its own, so that the peers' libraries are no dependency of the product.
let package = Package(
  name: "ckvdb-benchmarks",
  products: [.executable(name: "ckvdb-benchmark", targets: ["BenchmarkCommand"])],
  dependencies: [.package(name: "ckvdb", path: "..")],
  targets: [
    .systemLibrary(name: "CSQLitePeer", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
    .systemLibrary(name: "CRocksDB", pkgConfig: "rocksdb", providers: [.apt(["librocksdb-dev"])]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CXXHashFloor", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
    .target(name: "CFullAttend"),
    .target(name: "CPeaks"),
    .executableTarget(
      name: "BenchmarkCommand",
      dependencies: [
        .product(name: "CollectiveKV", package: "ckvdb"), "CSQLitePeer", "CLMDB", "CRocksDB", "COpenBLAS",
        "CXXHashFloor", "CFullAttend", "CPeaks",
      ],
      // Strict memory safety is off, as in tests: nearly every line here calls a C interface of a peer.
      swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
    .testTarget(
      name: "FullAttendTests", dependencies: ["CFullAttend"], swiftSettings: [.swiftLanguageMode(.v6)]),
    .testTarget(
      name: "BenchmarkTests", dependencies: ["BenchmarkCommand", "CPeaks"], swiftSettings: [.swiftLanguageMode(.v6)]),
  ]
)
