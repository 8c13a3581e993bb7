/// The kept cases of a float64 reference, through the command from end to end.

import CKVDBCommand
import Foundation
import PoolStorage
import Testing

struct CaseTests {
  private struct Options: Decodable {
    var element: String
    var window: Int?
    var top: Int
    var divisor: Int
    var selectLayer: Int?

    init(_ source: URL) throws {
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      self = try decoder.decode(
        Options.self, from: Data(contentsOf: source.appendingPathComponent("case.json")))
    }

    /// What an attention function takes on the command line.
    func arguments(_ attention: String) -> [String] {
      var words = window.map { ["--window", "\($0)"] } ?? []
      if ["topk", "select", "simhash"].contains(attention) { words += ["--top", "\(top)"] }
      if attention == "select", let selectLayer { words += ["--select-layer", "\(selectLayer)"] }
      if attention.hasPrefix("silu") { words += ["--divisor", "\(divisor)"] }
      return ["--attention", attention] + words
    }
  }

  private static let attentions = [
    "softmax", "topk", "select", "simhash", "sdim", "sdim-sum", "silu", "silu-bias",
  ]

  private static let cases = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("CollectiveKVTests/Cases")

  @Test(arguments: ["plain", "additive", "interned", "search"], [["--batch", "1"], []])
  func `append, dump and attend agree with the reference`(name: String, batch: [String]) throws {
    let source = Self.cases.appendingPathComponent(name)
    let options = try Options(source)
    let folder = try Folder()
    let path = { (file: String) in source.appendingPathComponent(file).path }
    let model = path("model.safetensors")
    #expect(try folder.ckvdb("init", "s.ckv", "--model", model, "--element", options.element).status == 0)
    #expect(try folder.ckvdb(["append", "s.ckv", "--input", path("history.safetensors")] + batch).status == 0)
    var layer = 0
    while FileManager.default.fileExists(atPath: path("expected.\(layer).reconstruct.safetensors")) {
      let dump = try folder.ckvdb(
        "dump", "s.ckv", "--reconstruct", "--layer", "\(layer)", "--format", "safetensors", "--output", "full")
      #expect(dump.status == 0, "\(dump.complaint)")
      let full = try folder.read("full")
      let expected = try SafetensorsFile(path: path("expected.\(layer).reconstruct.safetensors"), followsLinks: false)
      #expect(Set(full.tensors.map(\.name)) == Set(expected.tensors.map(\.name)))
      for tensor in expected.tensors {
        #expect(full.info(tensor.name)?.shape == tensor.shape)
        #expect(try full.floats(tensor.name) == (try expected.floats(tensor.name)), "layer \(layer), \(tensor.name)")
      }
      let isAttended = FileManager.default.fileExists(atPath: path("queries.\(layer).safetensors"))
      for attention in isAttended ? Self.attentions : [] {
        let attend = try folder.ckvdb(
          [
            "attend", "s.ckv", "--queries", path("queries.\(layer).safetensors"), "--output", "out", "--layer",
            "\(layer)",
          ] + options.arguments(attention))
        #expect(attend.status == 0, "\(attend.complaint)")
        let wanted = try SafetensorsFile(path: path("expected.\(layer).\(attention).safetensors"), followsLinks: false)
        let (seen, right) = (try folder.read("out").floats("output")!, try wanted.floats("output")!)
        let largest = right.map(\.magnitude).max()!
        #expect(zip(seen, right).allSatisfy { ($0 - $1).magnitude <= 1e-5 * largest }, "\(attention)")
        #expect(seen.count == right.count && largest > 0)
      }
      layer += 1
    }
    #expect(layer > 0)
    #expect(try folder.ckvdb("verify", "s.ckv").status == 0)
  }
}
