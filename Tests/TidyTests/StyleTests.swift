/// The rules about files that the formatter does not know.

import Testing

struct StyleTests {
  static let lineLimit = 400
  static let columnLimit = 120

  @Test func `every Swift file of Sources starts by saying what it owns`() throws {
    let files = try SourceTree.swiftSources()
    #expect(files.count > 15)
    for file in files {
      let saysSo = file.text.hasPrefix("/// ")
      #expect(saysSo, "\(file.path) starts with \"\(file.lines[0])\"")
    }
  }

  @Test func `no file is longer than 400 lines`() throws {
    for file in try SourceTree.everything() {
      let count = file.lines.count - (file.text.hasSuffix("\n") ? 1 : 0)
      #expect(count <= Self.lineLimit, "\(file.path) has \(count) lines: split it by concern")
    }
  }

  @Test func `no line is wider than 120 columns`() throws {
    for file in try SourceTree.everything() {
      for (index, line) in file.lines.enumerated() {
        #expect(line.count <= Self.columnLimit, "\(file.path):\(index + 1) has \(line.count) columns")
      }
    }
  }

  @Test func `nothing in Sources is left undone`() throws {
    for file in try SourceTree.swiftSources() + SourceTree.cSources() {
      for (index, line) in file.lines.enumerated() {
        let isUndone = line.contains(#/\b(TODO|FIXME)\b/#.wordBoundaryKind(.simple))
        #expect(!isUndone, "\(file.path):\(index + 1): \(line)")
      }
    }
  }

  @Test func `no code of Sources traps where it should throw`() throws {
    for file in try SourceTree.swiftSources() {
      for (index, line) in file.codeLines.enumerated() {
        let traps = line.contains(#/\b(fatalError\(|try!|as!)/#.wordBoundaryKind(.simple))
        #expect(!traps, "\(file.path):\(index + 1): \(line)")
      }
    }
  }

  @Test func `no file is named for being useful`() throws {
    for file in try SourceTree.everything() {
      let isVague = file.name.contains(#/Util|Common|Helper|Manager/#)
      #expect(!isVague, "\(file.path): name it for its concern")
    }
  }

  @Test func `the package stays usable as a dependency`() throws {
    let package = try SourceTree.file("Package.swift")
    let unsafeFlags = package.codeLines.filter { $0.contains("unsafeFlags") }
    #expect(unsafeFlags.isEmpty)
    // Warnings are errors only where the environment asks for it.
    let strict = package.codeLines.filter { $0.contains("treatAllWarnings") && !$0.contains("isStrict ? [") }
    #expect(strict.isEmpty)
  }
}
