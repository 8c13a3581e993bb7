/// The reading connections of a store: idle ones are kept, each is used by one thread at a time. A snapshot that a read
/// left standing is ended after it was idle for two ticks of 20 ms, by a thread that lives only as long as one stands:
/// until then it may keep another process from emptying the log. No call here waits for anything but the pool's lock.

internal import CacheTypes
internal import Glibc
internal import Synchronization

/// Owns the idle reading connections.
final class ReaderPool: Sendable {
  private struct State: @unchecked Sendable {
    var idle: [ReadSession]
    /// Connections that threads are using now.
    var lentCount = 0
    var isClosed = false
    /// Whether the overlay's index needs much memory, as the pool was last told.
    var hasLongTail = false
    /// Counts wakings of the thread that ends idle snapshots.
    var tick = 0
    var hasSweeper = false

    /// Bytes of pages that each connection may keep. Together they have what the index of a long tail would need while
    /// the tail is short, and a little when it is long: the two are not in memory at once.
    var cacheByteCount: Int {
      guard !hasLongTail else { return leastCacheByteCount }
      return max(leastCacheByteCount, ReaderPool.cacheByteCount / max(1, idle.count + lentCount))
    }
  }

  /// Rows of a tail whose index leaves room for caches.
  static let shortTailRowCount = 100_000
  private static let cacheByteCount = 12 << 20
  static let leastCacheByteCount = 2 << 20
  /// Connections that are kept when nobody needs them.
  private static let idleLimit = 8
  private static let tickMicroseconds: UInt32 = 20_000

  private let state: Mutex<State>

  init(_ first: ReadSession) {
    let first = UncheckedTransfer(first)
    state = Mutex(State(idle: [first.value]))
  }

  /// An idle connection, or `nil` if the caller has to open one, and the bytes of pages that it may keep. Every call is
  /// followed by one of `giveBack`.
  ///
  /// - Throws: `StoreError.closed`.
  func take() throws(StoreError) -> (session: ReadSession?, cacheByteCount: Int) {
    let (taken, isClosed) = state.withLock { state in
      guard !state.isClosed else { return (UncheckedTransfer((nil as ReadSession?, 0)), true) }
      state.lentCount += 1
      let session = state.idle.popLast()
      return (UncheckedTransfer((session, state.cacheByteCount)), false)
    }
    guard !isClosed else { throw .closed }
    return taken.value
  }

  /// Takes a connection back, or `nil` where none was to be had.
  func giveBack(_ session: ReadSession?) {
    let given = UncheckedTransfer(session)
    let needsSweeper = state.withLock { state in
      state.lentCount -= 1
      guard let session = given.value, !state.isClosed, state.idle.count < Self.idleLimit else { return false }
      session.idleSince = state.tick
      state.idle.append(session)
      guard session.isStanding, !state.hasSweeper else { return false }
      state.hasSweeper = true
      return true
    }
    if needsSweeper { startSweeper() }
  }

  /// The counters of the newest commit, if an idle connection's snapshot stands and is of that commit. The snapshot
  /// counts as used.
  func standingMeta() -> Meta? {
    state.withLock { state in
      guard let session = state.idle.last, let meta = session.standingMeta else { return nil }
      session.idleSince = state.tick
      return meta
    }
  }

  /// Lets go of idle connections: what is held open keeps a database from being rewritten alone.
  func dropIdle() { state.withLock { $0.idle = [] } }

  /// Ends snapshots that stand: what they see cannot be moved out of the log.
  func endIdleSnapshots() {
    state.withLock { state in for session in state.idle { session.endReading() } }
  }

  /// Lets go of the idle connections, and of the others as they come back.
  func close() {
    state.withLock { state in
      state.isClosed = true
      state.idle = []
    }
  }

  /// Takes note of whether the overlay lists many rows: then idle connections make room for them.
  func note(hasLongTail: Bool) {
    state.withLock { state in
      if !state.hasLongTail, hasLongTail { state.idle = [] }
      state.hasLongTail = hasLongTail
    }
  }

  // MARK: Ending idle snapshots

  /// Starts the thread that ends idle snapshots; if there can be none, they end now.
  private func startSweeper() {
    var thread = pthread_t()
    let retained = unsafe Unmanaged.passRetained(self)
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        let pool = unsafe Unmanaged<ReaderPool>.fromOpaque(argument!).takeRetainedValue()
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        while pool.sweep() {}
        return nil
      }, retained.toOpaque())
    guard code == 0 else {
      unsafe retained.release()
      state.withLock { $0.hasSweeper = false }
      endIdleSnapshots()
      return
    }
    pthread_detach(thread)
  }

  /// Sleeps for a tick, then ends what has been idle for a whole one.
  ///
  /// - Returns: whether a snapshot still stands.
  private func sweep() -> Bool {
    usleep(Self.tickMicroseconds)
    return state.withLock { state in
      for session in state.idle where session.isStanding && session.idleSince < state.tick { session.endReading() }
      state.tick += 1
      state.hasSweeper = state.idle.contains { $0.isStanding }
      return state.hasSweeper
    }
  }
}

/// Carries a value across an isolation check where a lock already sees to it that one thread has it.
private struct UncheckedTransfer<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
