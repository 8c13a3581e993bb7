/// One store object used by many threads at once.

import CollectiveKV
import Foundation
import Synchronization
import Testing

struct ThreadTests {
  private let directory: TemporaryDirectory
  private let store: CacheStore
  private let one = [Float](repeating: 0.5, count: 6)

  init() throws {
    directory = try TemporaryDirectory()
    store = try directory.makeStore(.plain)
  }

  /// Runs `body` in so many threads and waits for them.
  private static func inThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
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

  @Test func `threads that append to one user get every position once`() throws {
    let lengths = Mutex<[Int]>([])
    let (store, one) = (store, one)
    Self.inThreads(4) { _ in
      for _ in 0..<100 {
        let length = (try? store.append(user: 1, embeddings: one)) ?? -1
        lengths.withLock { $0.append(length) }
      }
    }
    #expect(lengths.withLock { $0.sorted() } == Array(1...400))
    #expect(try store.length(of: 1) == 400)
  }

  @Test func `of threads that expect the same position one gets it`() throws {
    let outcomes = Mutex<[Int: Int]>([:])
    let (store, one) = (store, one)
    Self.inThreads(4) { _ in
      for position in 0..<100 {
        do throws(StoreError) {
          try store.append(user: 1, embeddings: one, expecting: position)
          outcomes.withLock { $0[position, default: 0] += 1 }
        } catch {
          // Whoever comes here has seen the position before this one taken, so there is no gap.
          guard case .positionConflict(1, position, let length) = error, length > position else {
            outcomes.withLock { $0[-1, default: 0] += 1 }
            return
          }
        }
      }
    }
    #expect(outcomes.withLock { $0 } == Dictionary(uniqueKeysWithValues: (0..<100).map { ($0, 1) }))
    #expect(try store.length(of: 1) == 100)
  }

  @Test(arguments: 1...8)
  func `a call that meets a close is answered or says closed`(round: Int) throws {
    let acknowledged = Atomic(0)
    let unexpected = Mutex<[String]>([])
    let path = store.path
    let store = try CacheStore.open(at: path, options: .init(durability: .normal))
    let one = one
    try store.append(user: 2, embeddings: one)
    let isStarted = DispatchSemaphore(value: 0)
    let group = DispatchGroup()
    for number in 0..<4 {
      group.enter()
      Thread.detachNewThread {
        defer { group.leave() }
        isStarted.signal()
        while true {
          do throws(StoreError) {
            switch number {
            case 0, 1:
              try store.append(user: 1, embeddings: one)
              acknowledged.add(1, ordering: .sequentiallyConsistent)
            case 2: _ = try store.attend([1, 1, 1, 1, 1, 1, 1, 1], user: 2)
            default: try store.fold()
            }
          } catch {
            if error != .closed { unexpected.withLock { $0.append("\(number): \(error)") } }
            return
          }
        }
      }
    }
    for _ in 0..<4 { isStarted.wait() }
    usleep(UInt32(round * 3_000))
    try store.close()
    group.wait()
    #expect(unexpected.withLock { $0 } == [], "round \(round)")
    let appended = acknowledged.load(ordering: .sequentiallyConsistent)
    let reopened = try CacheStore.open(at: path)
    #expect(appended == 0 ? true : try reopened.length(of: 1) == appended)
    #expect(try reopened.verify().problems == [])
  }
}
