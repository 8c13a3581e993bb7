import CacheTypes
import RowStorage
import Testing

struct SnapshotTests {
  @Test func `a snapshot that keeps still sees one commit while another store changes everything`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    let users = (0..<6).map { UserID.integer(Int64($0)) }
    for user in users { try a.append(user, [1, 2, 3, 4, 5]) }
    try a.fold()
    for user in users { try a.append(user, [6]) }
    let expected = Sample.entries([1, 2, 3, 4, 5, 6], Sample.wide)
    try a.withSnapshot(keepsStill: true) { (snapshot) throws(StoreError) in
      let changes: [() throws -> Void] = [
        { try b.append(0, [7]) }, { try b.append(1, Array(0..<30)) }, { try b.fold() }, { _ = try b.delete(2) },
        { try b.append(2, [8]) }, { try b.append(99, [8]) }, { try b.fold() },
        { _ = try a.append(3, [1]) }, { try a.fold() },
      ]
      for change in changes {
        do { try change() } catch { Issue.record(error) }
        for user in users {
          let rows = try snapshot.read(user)
          #expect(rows.length == 6 && rows.entries == expected)
          let length = try snapshot.length(of: user)
          #expect(length == 6)
        }
      }
      do throws(StoreError) {
        _ = try snapshot.length(of: 99)
        Issue.record("a user of a later commit was seen")
      } catch {}
    }
    #expect(try a.length(of: 1) == 36)
    #expect(try a.holds(2, [8]))
  }

  @Test func `users come in order, each with its rows, as of one commit`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    var users: [UserID] = [
      .bytes([]), .bytes([0]), .bytes([0, 1]), .bytes([255]), 0, -3, .integer(.min), .integer(.max),
    ]
    for (place, user) in users.enumerated() {
      try a.append(user, [UInt32(place)])
      if place % 3 == 0 { try a.fold() }
    }
    users.sort()
    var seen: [UserID] = []
    try a.forEachUser { (user, snapshot) throws(StoreError) in
      seen.append(user)
      let length = try snapshot.read(user).length
      #expect(length == 1)
      do { _ = try b.append(user, [7]) } catch { Issue.record(error) }
      if seen.count == 4 { do { _ = try b.delete(.integer(.max)) } catch { Issue.record(error) } }
    }
    #expect(seen == users)
  }

  @Test func `reads see every commit that finished before they began`() throws {
    let sample = try SampleStore()
    let (a, b) = (try sample.open(), try sample.open())
    for step in 0..<60 {
      try a.append(5, [UInt32(step)])
      if step % 7 == 0 { try b.fold() }
      #expect(try b.length(of: 5) == step + 1)
      #expect(try a.length(of: 5) == step + 1)
    }
  }

  @Test func `positions that are missing or doubled are damage`() throws {
    for change in [
      "DELETE FROM block WHERE place = (5 << 32) + 4", "DELETE FROM block WHERE place = 5 << 32",
      "DELETE FROM tail WHERE position = 12",
      "UPDATE block SET count = count + 1 WHERE place = (5 << 32) + 4",
      "UPDATE block SET place = place + 1 WHERE place = (5 << 32) + 4",
      "UPDATE block SET checksum = checksum + 1 WHERE place = (5 << 32) + 8",
      "UPDATE block SET payload = x'' WHERE place = (5 << 32) + 8",
      "UPDATE block SET payload = 'text' WHERE place = (5 << 32) + 4",
      "UPDATE tail SET checksum = 1.5 WHERE position = 12",
      "UPDATE block SET generation = 7 WHERE place = (5 << 32) + 4", "UPDATE tail SET count = 2 WHERE position = 12",
      "UPDATE block SET place = place - 1 WHERE place = 5 << 32",
      "UPDATE block SET count = 1000000 WHERE place = (5 << 32) + 8",
      "UPDATE tail SET generation = 70000", "UPDATE tail SET position = 'x'", "UPDATE block SET count = 'x'",
      "UPDATE tail SET user = 'text'", "UPDATE tail SET user = 1.5", "UPDATE tail SET user = zeroblob(300)",
      "UPDATE meta SET folded_seq = next_seq", "UPDATE meta SET generation = 9", "UPDATE meta SET positions = -1",
      "DELETE FROM meta", "DELETE FROM generation", "DELETE FROM model", "UPDATE model SET layout = x'00'",
      "UPDATE generation SET element = 9", "UPDATE generation SET columns = 4", "UPDATE generation SET format = 2",
    ] {
      let sample = try SampleStore()
      let store = try sample.open()
      for position in 0..<12 { try store.append(5, [UInt32(position)]) }
      try store.fold()
      try store.append(5, [12])
      try store.append(5, [13])
      try store.close()
      try SideDatabase(sample.path).execute(change)
      do {
        let again = try sample.open()
        #expect(try !again.problems().isEmpty, "verify saw nothing after \(change)")
        _ = try again.read(5)
        Issue.record("a history was read after \(change)")
      } catch let error as StoreError {
        guard case .damaged = error else {
          Issue.record("\(change): \(error)")
          continue
        }
      }
    }
  }

  @Test func `a user whose number is lost or swapped is damage, never somebody else's history`() throws {
    let users: [UserID] = [-1, .integer(1 << 31), .bytes([]), .bytes([7]), 7]
    for change in [
      "DELETE FROM user WHERE number = -3", "UPDATE user SET number = -9 WHERE number = -3",
      "UPDATE user SET number = number + 100", "UPDATE user SET number = 7 WHERE number = -3",
      "UPDATE user SET user = 5 WHERE number = -3", "UPDATE user SET user = 'text' WHERE number = -3",
      "UPDATE user SET number = -20 WHERE number = -1; UPDATE user SET number = -1 WHERE number = -2",
      "INSERT INTO user VALUES (-50, x'0102')", "UPDATE block SET place = place - (9 << 32) WHERE place >> 32 = -2",
    ] {
      let sample = try SampleStore()
      let store = try sample.open()
      for (index, user) in users.enumerated() {
        for tag in 0..<12 { try store.append(user, [UInt32(index * 20 + tag)]) }
      }
      try store.fold()
      try store.close()
      try SideDatabase(sample.path).execute(change)
      let again = try sample.open()
      #expect(try !again.problems().isEmpty, "verify saw nothing after \(change)")
      for (index, user) in users.enumerated() {
        do {
          let wanted = Sample.entries((0..<12).map { UInt32(index * 20 + $0) }, again.model.shape)
          #expect(try again.read(user).entries == wanted, "\(change): \(user)")
        } catch let error as StoreError {
          switch error {
          case .damaged, .unknownUser: break
          default: Issue.record("\(change): \(error)")
          }
        }
      }
    }
  }
}
