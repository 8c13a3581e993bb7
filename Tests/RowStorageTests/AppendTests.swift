import CacheTypes
import RowStorage
import Testing

struct AppendTests {
  @Test(
    arguments: [ElementType.f32, .f16, .bf16, .i8],
    [[], [.items], [.timestamps], [.items, .timestamps]] as [KeptColumns])
  func `what was appended is read, from the tail and from blocks`(element: ElementType, columns: KeptColumns) throws {
    let sample = try SampleStore(Sample.mixed, element: element, columns: columns)
    let store = try sample.open()
    let users: [UserID] = [.integer(1), .integer(-5), .integer(.max), .bytes([]), .bytes([1, 0, 255])]
    var histories: [UserID: [UInt32]] = [:]
    var tag: UInt32 = 0
    for round in 0..<3 {
      for user in users {
        let tags = (0..<2).map { tag + $0 }
        tag += 2
        histories[user, default: []] += tags
        #expect(try store.append(user, tags) == histories[user]!.count)
      }
      // Blocks are open: eight bits come with the full ones.
      if round == 1 { #expect(try store.fold() == 10) }
      for user in users { #expect(try store.holds(user, histories[user]!)) }
    }
    #expect(try store.users() == users.sorted())
    #expect(try store.problems() == [])
    try store.close()
    let again = try sample.open()
    for user in users { #expect(try again.holds(user, histories[user]!)) }
  }

  @Test func `parts of a history are read by range and from its end`() throws {
    let store = try SampleStore().open()
    let tags = (0..<23).map { UInt32($0) }
    for place in 0..<17 { try store.append(5, [tags[place]]) }
    try store.fold()
    for place in 17..<23 { try store.append(5, [tags[place]]) }
    for from in 0...23 {
      for to in from...23 {
        let rows = try store.read(5, .range(from..<to))
        #expect(rows.length == 23 && rows.positions == from..<to)
        #expect(rows.entries == Sample.entries(Array(tags[from..<to]), Sample.wide))
      }
      let last = try store.read(5, .last(from))
      #expect(last.positions == 23 - from..<23)
      #expect(last.entries == Sample.entries(Array(tags[(23 - from)...]), Sample.wide))
    }
    #expect(try store.read(5, .range(20..<99)).positions == 20..<23)
    #expect(try store.read(5, .range(50..<99)).positions.isEmpty)
    #expect(try store.read(5, .last(99)).positions == 0..<23)
  }

  @Test func `only the wanted layers are filled`() throws {
    let sample = try SampleStore(Sample.mixed)
    let store = try sample.open()
    let tags: [UInt32] = [9, 8, 7]
    try store.append(5, tags)
    let expected = Sample.entries(tags, Sample.mixed)
    let rows = try store.withSnapshot { (snapshot) throws(StoreError) in try snapshot.read(5, layers: 1..<3) }
    for number in expected.layers.indices {
      #expect(rows.entries.layers[number] == (1..<3 ~= number ? expected.layers[number] : LayerEntries()))
    }
  }

  @Test func `an expected position that is the length is accepted, any other refused and nothing written`() throws {
    let store = try SampleStore().open()
    #expect(try store.append(5, [1, 2], expecting: 0) == 2)
    for wrong in [0, 1, 3, 100] {
      #expect(throws: StoreError.positionConflict(user: 5, expected: wrong, length: 2)) {
        try store.append(5, [3], expecting: wrong)
      }
    }
    #expect(try store.append(5, [3], expecting: 2) == 3)
    #expect(throws: StoreError.positionConflict(user: 6, expected: 1, length: 0)) {
      try store.append(6, [3], expecting: 1)
    }
    #expect(throws: StoreError.unknownUser(6)) { try store.length(of: 6) }
    #expect(try store.holds(5, [1, 2, 3]))
  }

  @Test func `repeats are skipped where that is asked for, gaps never`() throws {
    let store = try SampleStore().open()
    #expect(try store.append(5, [1, 2, 3], expecting: 0, skipsRepeats: true) == 3)
    #expect(try store.append(5, [1, 2, 3], expecting: 0, skipsRepeats: true) == 3)
    #expect(try store.append(5, [2, 3, 4, 5], expecting: 1, skipsRepeats: true) == 5)
    #expect(try store.append(5, [3], expecting: 2, skipsRepeats: true) == 5)
    #expect(throws: StoreError.positionConflict(user: 5, expected: 6, length: 5)) {
      try store.append(5, [9], expecting: 6, skipsRepeats: true)
    }
    #expect(try store.holds(5, [1, 2, 3, 4, 5]))
  }

  @Test func `a batch is written whole or not at all`() throws {
    let store = try SampleStore().open()
    try store.append(5, [1])
    let entries = Sample.entries([2, 3, 4], Sample.wide)
    let runs = [
      Run(user: 5, rows: 0..<1), Run(user: 6, rows: 1..<2), Run(user: 7, rows: 2..<3, expectedPosition: 1),
    ]
    #expect(throws: StoreError.positionConflict(user: 7, expected: 1, length: 0)) { try store.append(entries, runs) }
    #expect(try store.users() == [5])
    #expect(try store.holds(5, [1]))
    #expect(try store.append(entries, [runs[0], runs[1], Run(user: 5, rows: 2..<3)]) == [2, 1, 3])
    #expect(try store.holds(5, [1, 2, 4]))
    #expect(try store.holds(6, [3]))
  }

  @Test func `an empty run changes nothing and tells the length`() throws {
    let store = try SampleStore().open()
    try store.append(5, [1, 2])
    #expect(try store.append(5, []) == 2)
    #expect(try store.append(6, []) == 0)
    #expect(try store.users() == [5])
  }

  @Test func `every commit moves the next sequence number`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let side = try SideDatabase(sample.path)
    func nextSeq() throws -> Int { try side.integer("SELECT next_seq FROM meta") }
    var last = try nextSeq()
    func expectMoved(_ body: () throws -> Void) throws {
      try body()
      let now = try nextSeq()
      #expect(now > last)
      last = now
    }
    try expectMoved { try store.append(5, [1]) }
    try expectMoved { try store.append(5, [1, 2, 3, 4, 5, 6, 7, 8, 9]) }
    try expectMoved { try store.append(6, []) }
    try expectMoved { try store.fold() }
    try expectMoved { _ = try store.delete(5) }
    try expectMoved { _ = try store.vacuum(VacuumPlan(element: .f16)) { _, _ in } }
  }

  @Test func `a user id that is too long is refused`() throws {
    let store = try SampleStore().open()
    let long = UserID.bytes(Array(repeating: 1, count: 256))
    #expect(throws: StoreError.self) { try store.append(long, [1]) }
    let longest = UserID.bytes(Array(repeating: 1, count: 255))
    try store.append(longest, [1])
    #expect(try store.users() == [longest])
  }

  @Test func `an expected position below zero is refused`() throws {
    let store = try SampleStore().open()
    try store.append(5, [1])
    for skips in [false, true] {
      for position in [-1, Int.min] {
        #expect(throws: StoreError.self) { try store.append(5, [1], expecting: position, skipsRepeats: skips) }
      }
    }
    #expect(try store.holds(5, [1]))
  }

  @Test func `a history of the longest length takes no more`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(5, [1])
    let side = try SideDatabase(sample.path)
    // A marker says that the history up to its position is in blocks.
    let place = RowPlace(user: 5, position: RowStore.lengthLimit - 1, count: 0, generation: 1)
    let checksum = RowChecksum.of(place, UnsafeRawBufferPointer(start: nil, count: 0))
    try side.execute(
      """
      BEGIN; INSERT INTO tail SELECT next_seq, 5, \(RowStore.lengthLimit - 1), 0, 1, \(checksum), x'' FROM meta;
      UPDATE meta SET next_seq = next_seq + 1; COMMIT
      """)
    #expect(throws: StoreError.self) { try store.append(5, [1, 2]) }
    #expect(throws: StoreError.self) { try store.append(5, Array(0..<9)) }
    #expect(try store.append(5, [1]) == RowStore.lengthLimit)
    #expect(throws: StoreError.self) { try store.append(5, [1]) }
    #expect(try store.append(6, [1]) == 1)
  }
}
