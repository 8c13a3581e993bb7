/// The files of the repository as text, for tests that hold the project's rules. It reads the tree that the tests were
/// compiled from and changes nothing in it.

import Foundation

/// One text file of the tree.
struct SourceFile {
  /// Relative to the top of the repository, with `/` between folders.
  let path: String
  let text: String

  var name: String { String(path.split(separator: "/").last ?? "") }
  var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }

  /// The folder below `Sources` that the file belongs to.
  var module: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }

  /// The lines without what stands behind `//`: rules about code do not apply to what is written about it.
  var codeLines: [Substring] { lines.map { line in line.range(of: "//").map { line[..<$0.lowerBound] } ?? line } }
}

enum SourceTree {
  /// The top of the repository: two folders above this file's.
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// All files below a folder whose names end so, in order of path; hidden folders are left out.
  static func files(below folder: String, endings: [String]) throws -> [SourceFile] {
    let walk = FileManager.default.enumerator(
      at: root.appendingPathComponent(folder), includingPropertiesForKeys: nil, options: .skipsHiddenFiles)
    guard let walk else { return [] }
    var found: [SourceFile] = []
    for case let url as URL in walk where endings.contains(url.pathExtension) {
      let path = String(url.path.dropFirst(root.path.count + 1))
      found.append(SourceFile(path: path, text: try String(contentsOf: url, encoding: .utf8)))
    }
    return found.sorted { $0.path < $1.path }
  }

  static func swiftSources() throws -> [SourceFile] { try files(below: "Sources", endings: ["swift"]) }
  static func cSources() throws -> [SourceFile] { try files(below: "Sources", endings: ["c", "h"]) }

  /// Everything that is written by hand in Swift or C, tests and benchmarks too.
  static func everything() throws -> [SourceFile] {
    let folders = ["Sources", "Tests", "benchmarks/Sources", "benchmarks/Tests"]
    return try folders.flatMap { try files(below: $0, endings: ["swift", "c", "h"]) } + [file("Package.swift")]
  }

  static func file(_ path: String) throws -> SourceFile {
    SourceFile(path: path, text: try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8))
  }

  static func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
  }

  static func folders(below folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(
      at: root.appendingPathComponent(folder), includingPropertiesForKeys: [.isDirectoryKey], options: .skipsHiddenFiles
    )
    .filter { try $0.resourceValues(forKeys: [.isDirectoryKey]).isDirectory == true }
    .map(\.lastPathComponent).sorted()
  }
}
