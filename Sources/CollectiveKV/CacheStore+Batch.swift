/// Many requests in one call, over as many threads as the caller says. Each thread reads from a snapshot of its own and
/// takes the next request that nobody has taken; what a request gets hangs on that request and on the commit that it
/// sees alone, so answers are the same bits whatever the number of threads. A failing request fails alone.

internal import KVRuntime
internal import RowStorage
internal import Synchronization

extension CacheStore {
  /// Answers many requests. One bad request does not fail the others: its response carries the error.
  ///
  /// With one thread all requests see the same commit; with more, each thread sees the newest one of the time when it
  /// began. An application whose appends wait for the call sees no difference.
  ///
  /// - Parameter threads: how many work on it, the calling one included; more than there are requests are not started.
  /// - Returns: the responses in the order of the requests.
  /// - Throws: `StoreError.invalidInput` for a layer or parameter that fits no request, or fewer threads than 1;
  ///   `.closed`.
  public func attend(
    _ requests: [AttendRequest], layer: Int = 0, _ attention: Attention = .softmax(), threads: Int = 1
  ) throws(StoreError) -> [AttendResponse] {
    try attend(requests, try AttentionTarget(self, layer, attention), threads: threads)
  }

  /// Answers many requests into memory of the caller's: their outputs follow each other there, a row per query, in the
  /// order of the requests. The rows of a request that failed are zeros.
  ///
  /// - Parameters:
  ///   - destination: room for a row of `d_v` numbers per query of all requests; numbers are rounded to its element
  ///     type, to nearest, ties to even. What lies between rows is left alone.
  ///   - threads: as without a destination.
  /// - Returns: what became of each request, in their order.
  /// - Throws: as without a destination; `StoreError.invalidInput` for memory that is too small, overlapping rows or an
  ///   element type other than f32, f16 and bf16, with nothing written.
  public func attend(
    _ requests: [AttendRequest], layer: Int = 0, _ attention: Attention = .softmax(), into destination: RowDestination,
    threads: Int = 1
  ) throws(StoreError) -> [AttendStatus] {
    try unsafe attend(requests, try AttentionTarget(self, layer, attention), into: destination, threads: threads)
  }

  // MARK: Inside

  func attend(
    _ requests: [AttendRequest], _ target: AttentionTarget, threads: Int
  ) throws(StoreError) -> [AttendResponse] {
    try answerEach(
      requests.count, threads: threads, ahead: { target.lookAhead(to: requests[$0], $1) },
      failed: { AttendResponse(output: [], length: 0, error: $1) },
      { (place, snapshot) throws(StoreError) in try target.answer(requests[place], &snapshot) })
  }

  func attend(
    _ requests: [AttendRequest], _ target: AttentionTarget, into destination: RowDestination, threads: Int
  ) throws(StoreError) -> [AttendStatus] {
    let width = target.shape.key.width
    var rows: [Range<Int>] = []
    rows.reserveCapacity(requests.count)
    for request in requests {
      let first = rows.last?.upperBound ?? 0
      rows.append(first..<first + request.queries.count / width)
    }
    let placed = rows
    let outputWidth = target.shape.value?.width ?? 0
    let memory = try unsafe Self.memory(destination, "outputs", rows.last?.upperBound ?? 0, width: outputWidth)
    let output = unsafe OutputRows(memory: memory, width: outputWidth)
    return try answerEach(
      requests.count, threads: threads, ahead: { target.lookAhead(to: requests[$0], $1) },
      failed: { place, error in
        output.clear(placed[place])
        return AttendStatus(rows: placed[place], length: 0, error: error)
      },
      { (place, snapshot) throws(StoreError) in
        let response = try target.answer(requests[place], &snapshot)
        output.write(response.output, to: placed[place])
        return AttendStatus(rows: placed[place], length: response.length, error: nil)
      })
  }

  /// Answers `count` numbered requests over threads.
  ///
  /// - Parameters:
  ///   - ahead: called with the number that comes next, before another is answered.
  ///   - failed: makes the answer of a request that threw.
  ///   - answer: called once per number, on some thread.
  /// - Throws: `StoreError.invalidInput` for fewer threads than 1; what keeps the calling thread from reading.
  private func answerEach<Answer: Sendable>(
    _ count: Int, threads: Int, ahead: @escaping @Sendable (Int, borrowing Snapshot) -> Void,
    failed: @escaping @Sendable (Int, StoreError) -> Answer,
    _ answer: @escaping @Sendable (Int, inout Snapshot) throws(StoreError) -> Answer
  ) throws(StoreError) -> [Answer] {
    guard threads >= 1 else { throw .invalidInput("\(threads) threads; at least 1 is needed") }
    let board = AnswerBoard<Answer>(count)
    let rows = rows
    ThreadTeam.run(min(threads, count)) { isCaller in
      do throws(StoreError) {
        try rows.withSnapshot { (snapshot) throws(StoreError) in
          while let place = board.next() {
            if let coming = board.coming { ahead(coming, snapshot) }
            do throws(StoreError) {
              board.put(try answer(place, &snapshot), at: place)
            } catch {
              board.put(failed(place, error), at: place)
            }
          }
        }
      } catch {
        // Another thread that cannot read leaves the requests to those that can.
        if isCaller { board.fail(error) }
      }
    }
    return try board.answers()
  }
}

/// What became of one request whose output went into the caller's memory.
public struct AttendStatus: Hashable, Sendable {
  /// The rows of the destination that are this request's.
  public var rows: Range<Int>
  /// The length of the history that the request saw.
  public var length: Int
  /// Why the request failed; `nil` if it did not.
  public var error: StoreError?
}

/// Which requests are taken, and the answers so far.
private final class AnswerBoard<Answer: Sendable>: Sendable {
  private let count: Int
  private let taken = Atomic(0)
  private let state: Mutex<(answers: [Answer?], error: StoreError?)>

  init(_ count: Int) {
    self.count = count
    state = Mutex(([Answer?](repeating: nil, count: count), nil))
  }

  /// The next request that nobody has taken.
  func next() -> Int? {
    let place = taken.wrappingAdd(1, ordering: .relaxed).oldValue
    return place < count ? place : nil
  }

  /// The request that is taken next, by whichever thread.
  var coming: Int? {
    let place = taken.load(ordering: .relaxed)
    return place < count ? place : nil
  }

  func put(_ answer: Answer, at place: Int) { state.withLock { $0.answers[place] = answer } }
  func fail(_ error: StoreError) { state.withLock { $0.error = error } }

  /// All answers, once every thread has returned.
  func answers() throws(StoreError) -> [Answer] {
    let (answers, error) = state.withLock { $0 }
    if let error { throw error }
    return answers.compactMap { $0 }
  }
}

/// Rows that threads write to, each its own.
@safe
private struct OutputRows: @unchecked Sendable {
  private let memory: RowMemory?
  private let width: Int

  init(memory: RowMemory?, width: Int) {
    unsafe self.memory = memory
    self.width = width
  }

  func write(_ numbers: [Float], to rows: Range<Int>) {
    if let memory = unsafe memory { unsafe memory.write(numbers, width: width, at: rows) }
  }

  func clear(_ rows: Range<Int>) { write([Float](repeating: 0, count: rows.count * width), to: rows) }
}
