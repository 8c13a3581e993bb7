/// Queries that are scored against many users, such as one per item of a catalogue's shelf. What of a score depends on
/// the model and the query alone is computed once; what is left per user is the history. Scoring a set gives the bits
/// that `attend` gives for the same queries.

internal import KVRuntime

/// Candidate queries with their tables. Bound to the model, the layer and the attention that they were made for. Any
/// number of threads may use one.
public final class CandidateSet: Sendable {
  /// Bytes of tables, unless the caller says otherwise: 256 MiB.
  public static let defaultTableByteLimit = 256 << 20

  public let layer: Int
  public let attention: Attention
  /// How many candidates there are.
  public let count: Int
  /// The digest of the model that the tables were computed from.
  public let modelDigest: String
  let queries: [Float]
  let selectQueries: [Float]?
  let tables: CandidateTables

  /// Bytes that the tables take: for each candidate and head four per pool row of the layer's keys, heads in multiples
  /// of four if there are more than one.
  public var tableByteCount: Int { tables.byteCount }

  init(
    _ queries: [Float], count: Int, selectQueries: [Float]?, layer: Int, _ attention: Attention, modelDigest: String,
    _ tables: CandidateTables
  ) {
    self.queries = queries
    self.count = count
    self.selectQueries = selectQueries
    self.layer = layer
    self.attention = attention
    self.modelDigest = modelDigest
    self.tables = tables
  }
}

extension CacheStore {
  /// Prepares queries that any number of users will be scored against.
  ///
  /// - Parameters:
  ///   - queries: `C x d_k`, row-major.
  ///   - selectQueries: what `select` searches for: `C x d_k` of the searched layer.
  ///   - tableByteLimit: what the tables take at most. Candidates past it are scored all the same, as `attend` does it:
  ///     slower, with the same bits.
  /// - Throws: `StoreError.invalidInput` for a layer, a parameter or a query that `attend` refuses, or a limit below 0.
  /// - Complexity: O(C m d_g), in time once; C x heads x m x 4 bytes.
  public func candidates(
    _ queries: [Float], layer: Int = 0, _ attention: Attention = .softmax(), selectQueries: [Float]? = nil,
    tableByteLimit: Int = CandidateSet.defaultTableByteLimit
  ) throws(StoreError) -> CandidateSet {
    let target = try AttentionTarget(self, layer, attention)
    let width = target.shape.key.width
    guard queries.count.isMultiple(of: width) else {
      throw .invalidInput("\(queries.count) numbers are no whole queries of \(width)")
    }
    let tables = try target.tables(queries, count: queries.count / width, byteLimit: tableByteLimit)
    return CandidateSet(
      queries, count: queries.count / width, selectQueries: selectQueries, layer: layer, attention,
      modelDigest: model.digest, tables)
  }

  /// Attention output of every candidate over one user's history.
  ///
  /// - Returns: `C x d_v`, row-major: the bits of `attend` with the same queries.
  /// - Throws: as `attend`; `StoreError.invalidInput` if the set was made for another model than the store's.
  /// - Complexity: O(n (d_u + heads) + min(n, m) d_g) per candidate, the last for values alone.
  public func attend(_ candidates: CandidateSet, user: UserID) throws(StoreError) -> [Float] {
    let target = try target(of: candidates)
    let request = request(candidates, user)
    return try target.answer(request, rows).output
  }

  /// Scores many users against the candidates. One user that fails does not fail the others.
  ///
  /// - Parameter threads: how many work on it, the calling one included.
  /// - Returns: a response per user, in their order, each `C x d_v`.
  /// - Throws: `StoreError.invalidInput` if the set was made for another model than the store's, or for fewer threads
  ///   than 1; `.closed`.
  public func attend(
    _ candidates: CandidateSet, users: [UserID], threads: Int = 1
  ) throws(StoreError) -> [AttendResponse] {
    try attend(users.map { request(candidates, $0) }, try target(of: candidates), threads: threads)
  }

  /// Scores many users into memory of the caller's: `C` rows per user, those of a user that fails being zeros.
  ///
  /// - Parameter destination: as for `attend` with requests.
  public func attend(
    _ candidates: CandidateSet, users: [UserID], into destination: RowDestination, threads: Int = 1
  ) throws(StoreError) -> [AttendStatus] {
    let requests = users.map { request(candidates, $0) }
    return try unsafe attend(requests, try target(of: candidates), into: destination, threads: threads)
  }

  // MARK: Inside

  private func target(of candidates: CandidateSet) throws(StoreError) -> AttentionTarget {
    guard candidates.modelDigest == model.digest else {
      throw .invalidInput(
        "candidates were made for layer \(candidates.layer) of model \(candidates.modelDigest), the store's model is "
          + model.digest)
    }
    return try AttentionTarget(self, candidates.layer, candidates.attention, candidates.tables)
  }

  private func request(_ candidates: CandidateSet, _ user: UserID) -> AttendRequest {
    AttendRequest(user: user, queries: candidates.queries, selectQueries: candidates.selectQueries)
  }
}
