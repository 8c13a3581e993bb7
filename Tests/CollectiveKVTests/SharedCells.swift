/// Integers that several processes share: a mapped file. What a process stored there is there after it was killed.

import CollectiveKV
import Foundation
import Synchronization

/// Thread-safe. The mapping lasts as long as the object.
final class SharedCells: @unchecked Sendable {
  struct Failure: Error {}
  private let cells: UnsafeMutablePointer<Atomic<Int>>
  private let byteCount: Int

  /// Makes the file, should it not be there.
  init(path: String, count: Int) throws {
    byteCount = count * MemoryLayout<Int>.size
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0, ftruncate(descriptor, byteCount) == 0 else { throw Failure() }
    defer { close(descriptor) }
    guard let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), start != MAP_FAILED
    else { throw Failure() }
    cells = start.bindMemory(to: Atomic<Int>.self, capacity: count)
  }

  deinit { munmap(cells, byteCount) }

  subscript(_ place: Int) -> Int {
    get { cells[place].load(ordering: .sequentiallyConsistent) }
    set { cells[place].store(newValue, ordering: .sequentiallyConsistent) }
  }

  func add(_ amount: Int, to place: Int) { cells[place].add(amount, ordering: .sequentiallyConsistent) }
}
