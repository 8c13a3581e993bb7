/// Lets one thread of the process write at a time, and lets it do the waiting threads' appends in its own commit
/// (group commit). Whoever finds nobody writing leads: it takes every ticket that waits, commits them together, wakes
/// their owners, and then does the upkeep that is due. It never holds its lock while the leader works.

internal import CacheTypes
internal import Glibc

/// One call's append, waiting for a commit.
final class AppendTicket {
  let entries: Entries
  let runs: [Run]
  let skipsRepeats: Bool
  /// The users' new lengths, one per run. Set by the leader, read by the owner, both while they hold the queue's lock.
  var outcome: Result<[Int], StoreError>?

  init(entries: Entries, runs: [Run], skipsRepeats: Bool) {
    self.entries = entries
    self.runs = runs
    self.skipsRepeats = skipsRepeats
  }
}

/// Owns the lock and the queue. Thread-safe.
@safe final class WriterQueue: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var waiting: [AppendTicket] = []
  private var isLed = false

  init() {
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(condition, nil)
  }

  deinit {
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Returns once the ticket has its outcome, by `commit` in this thread or in another one.
  ///
  /// - Parameters:
  ///   - commit: returns the tickets' outcomes.
  ///   - upkeep: runs in the leader, after the owners of the tickets were woken.
  func submit(
    _ ticket: AppendTicket, commit: ([AppendTicket]) -> [Result<[Int], StoreError>], upkeep: () -> Void
  ) throws(StoreError) -> [Int] {
    lock()
    waiting.append(ticket)
    while ticket.outcome == nil, isLed { wait() }
    if ticket.outcome == nil {
      isLed = true
      let tickets = waiting
      waiting = []
      unlock()
      let outcomes = commit(tickets)
      precondition(outcomes.count == tickets.count, "one outcome per ticket")
      lock()
      for (ticket, outcome) in zip(tickets, outcomes) { ticket.outcome = outcome }
      wake()
      unlock()
      upkeep()
      lock()
      isLed = false
      wake()
    }
    let outcome = ticket.outcome
    unlock()
    guard let outcome else { preconditionFailure("the leader left a ticket without an outcome") }
    return try outcome.get()
  }

  /// Runs `body` while nobody else in the process writes.
  func exclusively<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
    lock()
    while isLed { wait() }
    isLed = true
    unlock()
    defer {
      lock()
      isLed = false
      wake()
      unlock()
    }
    return try body()
  }

  private func lock() { unsafe pthread_mutex_lock(mutex) }
  private func unlock() { unsafe pthread_mutex_unlock(mutex) }
  private func wait() { unsafe pthread_cond_wait(condition, mutex) }
  private func wake() { unsafe pthread_cond_broadcast(condition) }
}
