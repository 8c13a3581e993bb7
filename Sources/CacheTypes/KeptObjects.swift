/// Objects that are made from a model's tensors when they are first asked for, and then kept beside them, a few by
/// number. Whoever owns the tensors owns this too, so both go at the same time. Any thread may ask at any time; it
/// knows nothing of what it keeps.

internal import Synchronization

package final class KeptObjects: Sendable {
  private let kept = Mutex<[(number: Int, object: any AnyObject & Sendable)]>([])

  package init() {}

  /// What `make` returned when the number was first asked for. Threads that meet there wait for the one that makes it.
  ///
  /// - Precondition: a number goes with one type.
  package func object<Object: AnyObject & Sendable>(_ number: Int, _ make: () -> Object) -> Object {
    kept.withLock { kept in
      for entry in kept where entry.number == number {
        guard let object = entry.object as? Object else { preconditionFailure("\(number) is of another type") }
        return object
      }
      let made = make()
      kept.append((number, made))
      return made
    }
  }
}
