import CKVDBCommand
import CollectiveKV
import Foundation
import Testing

struct StatTests {
  @Test func `stat counts what is there and what it takes`() throws {
    let folder = try Folder()
    try folder.smallStore()
    let run = try folder.ckvdb("stat", "s.ckv")
    #expect(run.status == 0 && run.complaint.isEmpty)
    let lines = run.output.split(separator: "\n").map(String.init)
    #expect(lines[0] == "s.ckv")
    #expect(lines.contains("  layer 0    key 1 + 3 from 2 rows; value 1 + 3 from 2 rows; 1 head"))
    #expect(lines.contains("  users      2"))
    #expect(lines.contains("  positions  3"))
    // Two f16 numbers a position; beside them two bits, a byte or more per row; 16 bytes a position in full f16.
    #expect(lines.contains("  users' numbers alone                12 B   25.00 %   12.50 %"), "\(run.output)")
    #expect(lines.contains("  full keys and values                48 B    in f16"))
  }

  @Test func `JSON holds every figure`() throws {
    struct Shown: Decodable {
      struct Ratio: Decodable { var bytes: Int, of_f16: Double, of_f32: Double }
      struct Ratios: Decodable { var user_part: Ratio, with_indices: Ratio, on_disk: Ratio }
      struct Part: Decodable { var user_width: Int, pool_width: Int, pool_rows: Int, additive: Bool, router: Bool }
      struct Layer: Decodable { var heads: Int, key: Part, value: Part? }
      var format_version: Int, model: String, layers: [Layer], embedding_width: Int, item_count: Int?
      var element: String, keeps_items: Bool, keeps_timestamps: Bool, page_bytes: Int, block_capacity: Int
      var users: Int, stale_users: Int, positions: Int, block_rows: Int, tail_rows: Int
      var store_bytes: Int, database_bytes: Int, log_bytes: Int, pool_bytes: Int, full_numbers: Int
      var watermark: String, lost_commits: Int?
      var compression_ratios: Ratios
    }
    let folder = try Folder()
    try folder.smallStore("s.ckv", "--keep-items")
    let run = try folder.ckvdb("stat", "s.ckv", "--json")
    #expect(run.status == 0)
    let shown = try JSONDecoder().decode(Shown.self, from: Data(run.output.utf8))
    #expect(shown.format_version == 1 && shown.model.count == 32 && shown.element == "f16")
    #expect(shown.watermark == "sound" && shown.lost_commits == 0)
    #expect(shown.keeps_items && !shown.keeps_timestamps && shown.page_bytes == 8_192)
    #expect(shown.users == 2 && shown.positions == 3 && shown.stale_users == 0 && shown.item_count == 4)
    #expect(shown.full_numbers == 24 && shown.compression_ratios.user_part.bytes == 12)
    #expect(shown.compression_ratios.user_part.of_f16 == 0.25 && shown.compression_ratios.user_part.of_f32 == 0.125)
    #expect(shown.compression_ratios.on_disk.bytes == shown.store_bytes)
    #expect(shown.compression_ratios.on_disk.of_f16 == Double(shown.store_bytes) / 48)
    let sizes = try folder.bytes(below: "s.ckv").keys.reduce(0) {
      try $0 + Data(contentsOf: URL(fileURLWithPath: $1)).count
    }
    #expect(shown.store_bytes == sizes)
    #expect(shown.layers.count == 1 && shown.layers[0].key.pool_rows == 2 && shown.layers[0].value?.pool_width == 3)
  }

  @Test func `an empty store has no ratios`() throws {
    let folder = try Folder()
    try folder.smallModel()
    _ = try folder.ckvdb("init", "s.ckv", "--model", "model.safetensors")
    let run = try folder.ckvdb("stat", "s.ckv")
    #expect(run.status == 0 && run.output.contains("  users' numbers alone                 0 B         -         -"))
  }
}
