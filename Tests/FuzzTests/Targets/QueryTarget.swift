/// Fuzz target: a file of queries, for every attention function.

import CKVDBCommand
import CacheTypes
import CollectiveKV

enum QueryTarget {
  static func run(_ bytes: [UInt8]) {
    var input = FuzzBytes(bytes)
    let name = AttentionName.allCases[Int(input.byte()) % AttentionName.allCases.count]
    let path = FuzzScratch.write(input.all(), to: "queries.safetensors")
    guard
      let file = try? QueryFile(path: path, for: name, keyWidth: 4, searchWidth: name == .select ? 3 : nil)
    else { return }
    _ = file.function(name, top: 1, divisor: 1, selectLayer: nil, scale: nil, window: nil)
    for first in stride(from: 0, to: min(file.count, 64), by: 8) {
      guard let requests = try? file.requests(first..<min(first + 8, file.count)) else {
        preconditionFailure("nobody cut the file")
      }
      for request in requests {
        precondition(request.queries.count == file.queryCount * 4, "queries of the stated width")
        precondition(request.queries.allSatisfy(\.isFinite), "finite queries")
        precondition(request.positions.map { $0.count == file.queryCount } ?? true, "a position per query")
        precondition(request.positions?.allSatisfy { $0 >= 0 } ?? true, "positions from 0 on")
      }
    }
  }
}
