/// Numbers that are computed from a model's tensors when they are first asked for, and then kept beside them. Whoever
/// owns the tensors owns this too, so both go at the same time. Any thread may ask at any time; it knows nothing of
/// what it keeps.

internal import Synchronization

package final class KeptFloats: Sendable {
  private let kept = Mutex<[Float]?>(nil)

  package init() {}

  /// What `make` returned on the first call. Threads that meet there wait for the one that makes it.
  package func floats(_ make: () -> [Float]) -> [Float] {
    kept.withLock { kept in
      if let kept { return kept }
      let made = make()
      kept = made
      return made
    }
  }
}
