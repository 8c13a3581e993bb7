/// Closing: what is cheap to leave in order is left in order, then everything is let go of.

package import CacheTypes

extension RowStore {
  /// Folds the tail down to what opens quickly, empties the log if nobody else needs it, and lets go of the connections
  /// that are not in use. Calls after it throw `StoreError.closed`.
  package func close() throws(StoreError) {
    var failure: StoreError?
    do throws(StoreError) {
      try writerQueue.exclusively { () throws(StoreError) in
        defer {
          readers.close()
          dropWriter()
          memory.withLock { $0.poison = .closed }
        }
        guard access == .readWrite else { return }
        let writer = try leadingWriter()
        _ = try foldAll(writer, downTo: Self.cleanCloseTailRowCount)
        _ = try finishErasing(writer)
        readers.dropIdle()
        writer.session.connection.setBusyTimeout(milliseconds: 0)
        let newest = ledger.known
        // What did not wait for the disk is on it now.
        if try !writer.session.connection.checkpoint(truncate: true).isBusy { ledger.noteDurable(newest) }
      }
    } catch {
      failure = error
    }
    if let failure, failure != .closed { throw failure }
  }
}
