import CKVDBCommand
import Foundation
import Testing

struct DemoTests {
  private let steps = ["prefill", "append", "read", "attend", "dump", "vacuum", "verify", "stored"]

  @Test func `the demonstration shows every step and leaves nothing`() throws {
    let folder = try Folder()
    let run = try folder.ckvdb("demo", "--users", "40", "--event-count", "3000", "--seed", "5")
    #expect(run.status == 0 && run.complaint.isEmpty, "\(run.complaint)")
    for step in steps { #expect(run.output.contains("\n\(step) "), "\(step): \(run.output)") }
    #expect(run.output.hasPrefix("3,000 made-up events, 2,000 items, seed 5\n"))
    #expect(run.output.contains("3,000 positions\n") && run.output.contains(", no problem: "))
    #expect(run.output.split(separator: "\n", omittingEmptySubsequences: false).count <= 35, "about one screen")
    #expect(try folder.shell("ls").output.isEmpty)
  }

  @Test func `a named directory keeps a store, a model and events that fit`() throws {
    let folder = try Folder()
    #expect(try folder.ckvdb("demo", "d", "--users", "30", "--event-count", "2000").status == 0)
    #expect(try folder.shell("ls d").output == "events.tsv\nmodel.safetensors\nstore.ckv\n")
    #expect(try folder.ckvdb("verify", "d/store.ckv").status == 0)
    let again = try folder.ckvdb("demo", "d")
    #expect(again.status == 65 && again.complaint == "ckvdb: d/store.ckv: already exists\n")
    // The stored history is that of the events file.
    _ = try folder.ckvdb("init", "s.ckv", "--model", "d/model.safetensors")
    #expect(try folder.ckvdb("append", "s.ckv", "--events", "d/events.tsv").status == 0)
    #expect(try folder.ckvdb("dump", "s.ckv").output == (try folder.ckvdb("dump", "d/store.ckv").output))
    let own = try folder.ckvdb(
      "demo", "--events", "d/events.tsv", "--model", "d/model.safetensors", "--event-count", "500")
    #expect(own.status == 0 && own.output.hasPrefix("500 events of d/events.tsv, the model d/model.safetensors\n"))
    #expect(try folder.shell("ls").output == "d\ns.ckv\n")
  }

  @Test func `files that are none are refused and nothing stays`() throws {
    let folder = try Folder()
    try folder.smallModel("m")
    try folder.write("bad", "1 2 3\nx y z\n")
    let events = try folder.ckvdb("demo", "--events", "bad", "--model", "m")
    #expect(events.status == 65 && events.complaint.hasPrefix("ckvdb: bad:2: user 'x'"))
    try folder.write("good", "1 2 3\n")
    let model = try folder.ckvdb("demo", "--events", "good", "--model", "bad")
    #expect(model.status == 65 && model.complaint.hasPrefix("ckvdb: bad: invalid model: "), "\(model.complaint)")
    try folder.write("beyond", "1 4 3\n")
    let item = try folder.ckvdb("demo", "--events", "beyond", "--model", "m")
    #expect(item.status == 65 && item.complaint == "ckvdb: beyond: item 4 is not one of the model's 4 items\n")
    let empty = try folder.ckvdb("demo", "--events", "/dev/null", "--model", "m")
    #expect(empty.status == 65 && empty.complaint == "ckvdb: /dev/null: no event is in it\n")
    #expect(try folder.shell("ls").output == "bad\nbeyond\ngood\nm\n")
  }

  @Test func `a single event is enough`() throws {
    let folder = try Folder()
    let run = try folder.ckvdb("demo", "--users", "1", "--event-count", "1")
    #expect(run.status == 0, "\(run.complaint)")
  }
}
