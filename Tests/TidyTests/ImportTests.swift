/// Imports point down only. The table is the module diagram of ARCHITECTURE.md: a new arrow changes the diagram first,
/// then this table, then the code.

import Testing

struct ImportTests {
  /// What each folder of `Sources` may import or include, beside the language's own modules.
  static let allowed: [String: Set<String>] = [
    "CSQLite": ["sqlite3.h"],
    "CXXHash": ["xxhash.h"],
    "CZlib": ["zlib.h"],
    "CPageVFS": ["sqlite3.h", "xxhash.h"],
    "CKernels": [],
    "CMapGuard": [],
    "CacheTypes": ["CXXHash", "CMapGuard"],
    "PoolStorage": ["CacheTypes"],
    "RowStorage": ["CacheTypes", "CSQLite", "CPageVFS", "CKernels"],
    "KVRuntime": ["CacheTypes", "CKernels"],
    "CollectiveKV": ["CacheTypes", "PoolStorage", "RowStorage", "KVRuntime"],
    "CKVDBCommand": ["CollectiveKV", "PoolStorage", "CacheTypes", "CZlib", "ArgumentParser", "Foundation"],
  ]

  /// The C library and the language's own modules: every Swift module may use them.
  static let languageModules: Set<String> = ["Glibc", "Darwin", "Musl", "Synchronization", "Swift"]
  /// Headers of libraries; the C library's own are free.
  static let libraryHeaders: Set<String> = ["sqlite3.h", "sqlite3ext.h", "xxhash.h", "zlib.h"]

  static func imports(of file: SourceFile) -> [String] {
    let pattern = #/^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:\w+\s+)?import\s+(?:(?:struct|class|enum|protocol|func)\s+)?(\w+)/#
    return file.codeLines.compactMap { $0.firstMatch(of: pattern).map { String($0.1) } }
  }

  @Test func `every folder of Sources has a row in the import table and every row a folder`() throws {
    #expect(try SourceTree.folders(below: "Sources") == Self.allowed.keys.sorted())
  }

  @Test func `Swift modules import only what the table allows`() throws {
    let files = try SourceTree.swiftSources()
    var seen: Set<String> = []
    for file in files {
      let allowed = Self.allowed[file.module, default: []].union(Self.languageModules)
      for module in Self.imports(of: file) {
        seen.insert(module)
        let isAllowed = allowed.contains(module)
        #expect(isAllowed, "\(file.path) imports \(module)")
      }
    }
    #expect(seen.isSuperset(of: ["CacheTypes", "CSQLite", "ArgumentParser"]), "the search found only \(seen)")
  }

  @Test func `Foundation stays above the library`() throws {
    for file in try SourceTree.swiftSources() where file.module != "CKVDBCommand" {
      let heavy = Self.imports(of: file).filter { $0.hasPrefix("Foundation") }
      #expect(heavy.isEmpty, "\(file.path) imports \(heavy)")
    }
  }

  @Test func `C targets include their own headers, the C library's and what the table allows`() throws {
    var seen = 0
    for file in try SourceTree.cSources() {
      for line in file.lines {
        guard let match = line.firstMatch(of: #/^\s*#\s*include\s+(["<])([^">]+)[">]/#) else { continue }
        seen += 1
        let header = String(match.2)
        if match.1 == "\"" {
          let places = ["Sources/\(file.module)/\(header)", "Sources/\(file.module)/include/\(header)"]
          let isOwn = places.contains(where: SourceTree.exists)
          #expect(isOwn, "\(file.path) includes \(header) of another target")
        } else if Self.libraryHeaders.contains(header) {
          let isAllowed = Self.allowed[file.module, default: []].contains(header)
          #expect(isAllowed, "\(file.path) includes \(header)")
        }
      }
    }
    #expect(seen > 3)
  }

  @Test func `no module declares a type of its own name`() throws {
    for file in try SourceTree.swiftSources() {
      for line in file.codeLines {
        let name = line.firstMatch(of: #/(?:^|\s)(?:struct|class|enum|actor|protocol)\s+(\w+)/#).map { String($0.1) }
        #expect(name != file.module, "\(file.path) declares \(file.module)")
      }
    }
  }
}
