/// What the documents name is there: files, folders and make targets.

import Foundation
import Testing

struct DocumentTests {
  /// The documents of the repository. CHANGELOG.md is left out: it may name what is gone.
  static func documents() throws -> [SourceFile] {
    let top = try FileManager.default.contentsOfDirectory(atPath: SourceTree.root.path)
      .filter { $0.hasSuffix(".md") && $0 != "CHANGELOG.md" }.sorted()
    return try top.map(SourceTree.file)
      + ["schema", "Tests", "tools", "benchmarks"].flatMap { try SourceTree.files(below: $0, endings: ["md"]) }
  }

  static let folders: Set<String> = ["Sources", "Tests", "schema", "tools", "benchmarks", ".ci"]

  @Test func `every path that a document names exists`() throws {
    var seen = 0
    for document in try Self.documents() {
      for match in document.text.matches(of: #/`([A-Za-z.][\w.+\/-]*\/[\w.+\/-]*)`/#) {
        let path = String(match.1)
        guard let first = path.split(separator: "/").first, Self.folders.contains(String(first)) else { continue }
        seen += 1
        #expect(SourceTree.exists(path), "\(document.path) names \(path)")
      }
    }
    #expect(seen > 3)
  }

  @Test func `every link between documents leads somewhere`() throws {
    for document in try Self.documents() {
      let folder = document.path.split(separator: "/").dropLast().joined(separator: "/")
      for match in document.text.matches(of: #/\]\(([^)#:\s]+)(?:#[^)]*)?\)/#) {
        let target = folder.isEmpty ? String(match.1) : folder + "/" + match.1
        #expect(SourceTree.exists(target), "\(document.path) links to \(match.1)")
      }
    }
  }

  @Test func `every test that THREATS_md names exists`() throws {
    let tests = try SourceTree.files(below: "Tests", endings: ["swift"]).flatMap { file in
      file.text.matches(of: #/func `([^`]+)`/#).map { String($0.1) }
    }
    var seen = 0
    for line in try SourceTree.file("THREATS.md").lines where line.hasPrefix("|") {
      for match in (line.split(separator: "|").last ?? "").matches(of: #/`([^`]+)`/#) {
        seen += 1
        let isThere = tests.contains { $0.hasPrefix(match.1) }
        #expect(isThere, "THREATS.md names the test \(match.1)")
      }
    }
    #expect(seen > 20)
  }

  @Test func `every make target that a document names exists`() throws {
    let makefile = try SourceTree.file("Makefile")
    let targets = Set(makefile.text.matches(of: #/(?m)^([a-z][a-z-]*):/#).map { String($0.1) })
    #expect(targets.isSuperset(of: ["run", "test", "check", "bench", "lint", "format", "clean", "help"]))
    for document in try Self.documents() {
      for match in document.text.matches(of: #/(?m)(?:`|^ {4}|^)make ([a-z][a-z-]*)(?=[` \n])/#) {
        #expect(targets.contains(String(match.1)), "\(document.path) names make \(match.1)")
      }
    }
  }

  @Test func `every public make target is listed by make help`() throws {
    let makefile = try SourceTree.file("Makefile")
    for match in makefile.text.matches(of: #/(?m)^([a-z][a-z-]*):[^\n]*/#) {
      #expect(match.0.contains("## "), "the Makefile's \(match.1) has no description behind ##")
    }
  }
}
