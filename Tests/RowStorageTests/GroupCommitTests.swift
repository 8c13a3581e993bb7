import CacheTypes
import Foundation
import RowStorage
import Synchronization
import Testing

struct GroupCommitTests {
  /// Runs `body` on threads of its own.
  static func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let group = DispatchGroup()
    for number in 0..<count {
      group.enter()
      Thread.detachNewThread {
        body(number)
        group.leave()
      }
    }
    group.wait()
  }

  @Test func `eight threads append at once, each sees its own and commits are shared`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let failures = Mutex<[String]>([])
    Self.onThreads(8) { number in
      do {
        for step in 0..<60 {
          let own = UserID.integer(Int64(number))
          let length = try store.append(own, [UInt32(step)], expecting: step)
          let shared = try store.append(.bytes([1]), [UInt32(number)])
          let history = (0...step).map { UInt32($0) }
          let isRight = try length == step + 1 && shared > 0 && store.holds(own, history)
          if !isRight { failures.withLock { $0.append("thread \(number), step \(step)") } }
          if step % 20 == 7 { try store.fold() }
        }
      } catch { failures.withLock { $0.append("thread \(number): \(error)") } }
    }
    #expect(failures.withLock { $0 } == [])
    #expect(try store.length(of: .bytes([1])) == 480)
    let shared = try store.read(.bytes([1])).entries
    var seen = [Int](repeating: 0, count: 8)
    for position in 0..<480 {
      var one = Entries(zeroed: Sample.wide, count: 1)
      one.replace(from: 0, with: shared, position..<position + 1)
      let number = (0..<8).first { Sample.entries([UInt32($0)], Sample.wide) == one }
      seen[try #require(number)] += 1
    }
    #expect(seen == Array(repeating: 60, count: 8))
    #expect(try store.problems() == [])
  }

  @Test func `a refused append does not fail those that share its commit`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    let conflicts = Mutex(0)
    let failures = Mutex<[String]>([])
    Self.onThreads(8) { number in
      for step in 0..<40 {
        do {
          if number % 2 == 0 {
            try store.append(.integer(Int64(number)), [UInt32(step)])
          } else {
            try store.append(.integer(Int64(number)), [1], expecting: 5)
          }
        } catch StoreError.positionConflict { conflicts.withLock { $0 += 1 } } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }
    #expect(failures.withLock { $0 } == [])
    #expect(conflicts.withLock { $0 } == 160)
    for number in stride(from: 0, to: 8, by: 2) {
      #expect(try store.holds(.integer(Int64(number)), (0..<40).map { UInt32($0) }))
    }
  }

  @Test func `a damaged user does not fail those that share its commit`() throws {
    let sample = try SampleStore()
    let store = try sample.open()
    try store.append(1, [1, 2])
    try store.fold()
    try SideDatabase(sample.path).execute("UPDATE block SET checksum = checksum + 1 WHERE place >> 32 = 1")
    let damages = Mutex(0)
    let failures = Mutex<[String]>([])
    let long = (0..<40).map { UInt32($0) }
    Self.onThreads(8) { number in
      for step in 0..<10 {
        do {
          if number % 2 == 0 {
            try store.append(.integer(Int64(number + 10)), [UInt32(step)])
          } else {
            try store.append(1, long)
          }
        } catch StoreError.damaged { damages.withLock { $0 += number % 2 } } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }
    #expect(failures.withLock { $0 } == [])
    #expect(damages.withLock { $0 } == 40)
    for number in stride(from: 10, to: 18, by: 2) {
      #expect(try store.holds(.integer(Int64(number)), (0..<10).map { UInt32($0) }))
    }
  }
}
