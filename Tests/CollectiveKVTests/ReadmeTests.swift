/// README.md shows the library by an example: it is the one that is compiled and run here.

import CollectiveKV
import Foundation
import Testing

struct ReadmeTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  private static let readme = folder.deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("README.md").path

  /// The lines between two others, without what all of them are indented by.
  private static func lines(of path: String, after first: String, before last: String) throws -> [String] {
    let lines = try String(contentsOfFile: path, encoding: .utf8).components(separatedBy: "\n")
    let start = try #require(lines.firstIndex { $0.trimmingCharacters(in: .whitespaces) == first }, "\(path): \(first)")
    let end = try #require(
      lines[(start + 1)...].firstIndex { $0.trimmingCharacters(in: .whitespaces) == last }, "\(path): \(last)")
    let found = lines[(start + 1)..<end]
    let indent = found.filter { !$0.isEmpty }.map { $0.prefix { $0 == " " }.count }.min() ?? 0
    return found.map { String($0.dropFirst(indent)) }
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: readme), "README.md is not there"))
  func `the example of README is the one that is compiled`() throws {
    let shown = try Self.lines(of: Self.readme, after: "```swift", before: "```")
    let source = Self.folder.appendingPathComponent("ReadmeExample.swift").path
    let compiled = try Self.lines(of: source, after: "// README:begin", before: "// README:end")
    #expect(shown == compiled)
  }

  /// A worker runs it, since the example's paths are relative and a process has one current directory.
  @Test func `the example of README does what it says`() throws {
    let directory = try TemporaryDirectory()
    let part = TestModel.part(1, 3, 8)
    let model = TestModel(
      TestModel.shape([LayerShape(key: part, value: part, heads: 1)], embeddingWidth: 4))
    try model.write(to: directory.file("model.safetensors"))
    #expect(try WorkerProcess().ask("readme \(directory.path)") == "ok 0..<3 4 4 4 0 8 0")
    let store = try CacheStore.open(at: directory.file("shop.ckv"))
    #expect(try store.length(of: 42) == 3)
  }
}
