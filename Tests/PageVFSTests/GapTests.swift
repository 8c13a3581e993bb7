/// The gaps of single pages: all of them are zeroed on pages that SQLite made, no cell changes, and bytes that are no
/// sound b-tree page stay as they are, whatever they hold.

import CPageVFS
import Testing

@Suite struct GapTests {
  /// Bytes on both sides of a page under test, which must never change.
  static let guardByteCount = 64

  @Test func `a checksum depends on page number and every byte but the last eight`() {
    var random = Seeded(1)
    var page = random.bytes(4096)
    let checksum = ckv_page_checksum(page, 4096, 7)
    #expect(ckv_page_checksum(page, 4096, 8) != checksum)
    for place in stride(from: 0, to: 4088, by: 13) {
      page[place] ^= 1
      #expect(ckv_page_checksum(page, 4096, 7) != checksum)
      page[place] ^= 1
    }
    for place in 4088..<4096 { page[place] ^= 0xFF }
    #expect(ckv_page_checksum(page, 4096, 7) == checksum)
  }

  @Test func `the checksum of a known page is the one of the format`() {
    let page = (0..<512).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(ckv_page_checksum(page, 512, 1) == 0x1EA3_1FF9_5F9B_13FD)
    #expect(ckv_page_checksum(page, 512, 2) == 0xF983_7C2F_6C0B_0BBA)
  }

  @Test func `space, free block and fragment of a page are zeroed, its cells are not`() {
    // An index leaf of 512 bytes: a cell of 10 bytes, a free block of 20, a fragment of 2, a cell of 30.
    var page = [UInt8](repeating: 0xAA, count: 512)
    let content = 504 - 62
    page.replaceSubrange(0..<8, with: [10, 0x01, UInt8(content + 10 - 256), 0, 2, 0x01, UInt8(content - 256), 2])
    page.replaceSubrange(8..<12, with: [0x01, UInt8(content + 32 - 256), 0x01, UInt8(content - 256)])
    page[content] = 9
    page.replaceSubrange(content + 10..<content + 14, with: [0, 0, 0, 20])
    page[content + 32] = 29

    var expected = page
    for place in Array(12..<content) + Array(content + 14..<content + 32) { expected[place] = 0 }
    #expect(zeroed(page, number: 2) == expected)

    // One wrong byte anywhere in what describes the cells, and the page stays as it is.
    let wrong = [
      (0, 3), (1, 0), (2, 4), (4, 1), (4, 3), (6, 0xB0), (7, 1), (7, 3), (9, 0), (content, 8), (content, 10),
      (content + 11, 200), (content + 13, 3), (content + 13, 21), (content + 32, 28), (content + 32, 30),
    ]
    for (place, value) in wrong {
      var damaged = page
      damaged[place] = UInt8(value)
      #expect(zeroed(damaged, number: 2) == damaged, "\(value) at \(place)")
    }
  }

  @Test(arguments: [512, 4096, 8192, 65_536])
  func `every b-tree page that SQLite makes is taken, and loses no row`(pageSize: Int) throws {
    let directory = Directory()
    let path = directory.file("users.sqlite")
    let database = try Sample.create(path, vfs: "unix", pageSize: pageSize, rows: 600)
    for round in 1...6 {
      try database.run("DELETE FROM block WHERE position % 7 = \(round); DELETE FROM tail WHERE seq % 5 = \(round % 5)")
      try database.run("UPDATE block SET payload = substr(payload, \(round * 9 + 1)) WHERE position % 3 = \(round % 3)")
      try Sample.insert(database, rows: 60, seed: UInt64(100 + round))
    }
    let expected = try Sample.contents(database)
    database.close()

    var bytes = Bytes.read(path)
    var types: Set<UInt8> = []
    for number in 1...bytes.count / pageSize {
      let start = (number - 1) * pageSize
      let header = start + (number == 1 ? 100 : 0)
      let type = bytes[header]
      // This file is too small for the first byte of an overflow or free-list page to be one of these.
      guard [2, 5, 10, 13].contains(type) else { continue }
      let cells = Int(bytes[header + 3]) << 8 | Int(bytes[header + 4])
      let gapStart = header + (type < 10 ? 12 : 8) + 2 * cells
      let gapEnd = start + (Int(bytes[header + 5]) << 8 | Int(bytes[header + 6]))
      for place in gapStart..<gapEnd { bytes[place] = 0xA5 }
      let page = zeroed(Array(bytes[start..<start + pageSize]), number: UInt32(number))
      bytes.replaceSubrange(start..<start + pageSize, with: page)
      #expect(bytes[gapStart..<gapEnd].allSatisfy { $0 == 0 }, "page \(number)")
      #expect(zeroed(page, number: UInt32(number)) == page, "page \(number) twice")
      types.insert(type)
    }
    #expect(types.isSuperset(of: [10, 13]))
    Bytes.write(bytes, to: path)
    let again = try TestDatabase(path, vfs: "unix")
    #expect(try again.pragma("integrity_check") == "ok")
    #expect(try Sample.contents(again) == expected)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `random and nearly right pages never move a byte outside`(seed: UInt64) {
    var random = Seeded(seed)
    for round in 0..<3_000 {
      let size = [512, 1024, 4096, 65_536][round % 100 == 0 ? 3 : Int.random(in: 0..<3, using: &random)]
      let number = UInt32.random(in: 1...3, using: &random)
      let filler = UInt8.random(in: 0...255, using: &random)
      var page = round % 2 == 0 ? random.bytes(size) : [UInt8](repeating: filler, count: size)
      let header = number == 1 ? 100 : 0
      page[header] = [2, 5, 10, 13].randomElement(using: &random)!
      // Few cells, and an area that is near the end: the rest of the header is what chance brings.
      page[header + 3] = 0
      page[header + 4] = UInt8.random(in: 0..<6, using: &random)
      let content = size - 8 - Int.random(in: 0..<200, using: &random)
      page[header + 5] = UInt8(truncatingIfNeeded: content >> 8)
      page[header + 6] = UInt8(truncatingIfNeeded: content)
      let result = zeroed(page, number: number)
      // What follows the content area is the checksum, which is not ours to touch.
      #expect(result[(size - 8)...] == page[(size - 8)...], "seed \(seed), round \(round)")
      #expect(result[..<(header + 8)] == page[..<(header + 8)], "seed \(seed), round \(round)")
    }
  }

  @Test func `a size that is no page size is left alone`() {
    for size in [0, 1, 7, 8, 100, 511, 513, 3000, 65_535] {
      let page = [UInt8](repeating: 10, count: size)
      #expect(zeroed(page, number: 2) == page)
    }
  }

  /// The page after its gaps were zeroed, between guards that are checked.
  private func zeroed(_ page: [UInt8], number: UInt32) -> [UInt8] {
    let guarding = [UInt8](repeating: 0xC3, count: Self.guardByteCount)
    var bytes = guarding + page + guarding
    bytes.withUnsafeMutableBytes { ckv_page_zero_gaps($0.baseAddress! + Self.guardByteCount, page.count, number) }
    #expect(bytes.prefix(Self.guardByteCount) == guarding[...])
    #expect(bytes.suffix(Self.guardByteCount) == guarding[...])
    return Array(bytes[Self.guardByteCount..<Self.guardByteCount + page.count])
  }
}
