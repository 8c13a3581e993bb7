/// The watermark: a file of 256 slots beside the database. Each commit leaves its number in the slot that the number
/// names, by one write that nobody waits for; the greatest number in a valid slot is the newest commit that is surely
/// there. The file is read before the database. It tells lost commits and restores none; rows are never read by it.
///
/// A slot is written after COMMIT returned, and only for a commit that is on disk then, unless the store was asked not
/// to wait for the disk: a database behind its watermark has lost what a caller was told is there. Numbers count
/// commits, so neighbours use different slots, and a writer that is held up between its commit and its mark cannot undo
/// a newer one.

package import CacheTypes
internal import Synchronization

/// One store's watermark file, open. Thread-safe.
package final class Watermark: Sendable {
  package static let slotCount = 256
  package static let slotByteCount = 32
  package static let byteCount = slotCount * slotByteCount
  /// Greater numbers are no store's: whoever accepts a rollback counts on from what was read.
  package static let numberLimit = Int64.max / 4

  /// What a valid slot holds.
  private struct Mark {
    var store: [UInt8]
    var number: Int64
  }

  package let path: String
  private let file: OpenFile?
  /// Whether nothing was there when it was opened.
  private let wasMissing: Bool
  /// What was there when it was opened, before the database was.
  private let marksAtOpening: [Mark]
  private struct Notes {
    /// The store that marks are read and written for.
    var store: [UInt8] = []
    /// Why the newest mark could not be written.
    var failure: StoreError?
  }
  private let notes = Mutex(Notes())

  /// Makes the watermark of a new store and forces it to the disk.
  package static func create(_ path: String, store: [UInt8]) throws(StoreError) {
    let file = try OpenFile(path, .creating)
    var bytes = [UInt8](repeating: 0, count: byteCount)
    bytes.replaceSubrange(slotRange(of: Meta.firstCommit), with: encoded(store, Meta.firstCommit))
    try write(bytes, at: 0, file)
    try file.sync()
  }

  /// Opens and reads a watermark. That nothing is there is no error here.
  ///
  /// - Parameters:
  ///   - path: names the file in messages.
  ///   - place: where the file is, if not at `path`.
  ///   - makesMissing: whether an empty one is made where nothing is.
  package init(
    _ path: String, place: String? = nil, _ access: RowStore.Access, makesMissing: Bool = false
  ) throws(StoreError) {
    self.path = path
    let place = place ?? path
    let kind = try FileSystem.kind(place)
    wasMissing = kind == nil
    switch kind {
    case .file:
      let file = try OpenFile(place, access == .readWrite ? .updating : .reading(followsLinks: false))
      marksAtOpening = try Self.marks(file)
      self.file = consume file
    case nil:
      marksAtOpening = []
      guard makesMissing, access == .readWrite else {
        file = nil
        return
      }
      let file = try OpenFile(place, .creating)
      try Self.write([UInt8](repeating: 0, count: Self.byteCount), at: 0, file)
      self.file = consume file
    case .directory, .link, .other: throw .damaged("\(path): is not a regular file")
    }
  }

  /// Says which store the marks are read and written for: the one that the database names.
  package func belong(to store: [UInt8]) { notes.withLock { $0.store = store } }

  // MARK: Reading

  /// What the watermark, as it was opened, says about a database that was read after that.
  package func stateAtOpening(commits: Int64) -> WatermarkState {
    wasMissing ? .missing : state(marksAtOpening, commits)
  }

  /// The greatest number that was taken down when the file was opened.
  package var newestAtOpening: Int64? { newest(marksAtOpening) }

  /// What the watermark says now.
  ///
  /// - Parameter commits: reads the number of the database's newest commit; called when the watermark has been read.
  package func state(commits: () throws(StoreError) -> Int64) throws(StoreError) -> WatermarkState {
    if let failure = notes.withLock({ $0.failure }) { return .unwritten(reason: failure.description) }
    switch file {
    case .some(let file):
      let marks = try Self.marks(file)
      return state(marks, try commits())
    case .none: return .missing
    }
  }

  private func newest(_ marks: [Mark]) -> Int64? {
    let store = notes.withLock { $0.store }
    return marks.lazy.filter { $0.store == store }.map(\.number).max()
  }

  private func state(_ marks: [Mark], _ commits: Int64) -> WatermarkState {
    guard let newest = newest(marks) else { return marks.isEmpty ? .unreadable : .foreign }
    return newest > commits ? .rolledBack(commits: Int(newest - commits)) : .sound
  }

  // MARK: Writing

  /// Takes down a commit. That it fails is remembered, and is no error of the commit, which is on disk.
  package func record(_ number: Int64) {
    notes.withLock { notes in
      do throws(StoreError) {
        try write(Self.encoded(notes.store, number), at: Self.slotRange(of: number).lowerBound)
        notes.failure = nil
      } catch {
        notes.failure = error
      }
    }
  }

  /// Empties every slot.
  package func clear() throws(StoreError) { try write([UInt8](repeating: 0, count: Self.byteCount), at: 0) }

  // MARK: Slots

  private static func slotRange(of number: Int64) -> Range<Int> {
    let start = Int(number % Int64(slotCount)) * slotByteCount
    return start..<start + slotByteCount
  }

  /// Store, number, checksum of both.
  private static func encoded(_ store: [UInt8], _ number: Int64) -> [UInt8] {
    var bytes = store
    append(UInt64(number), &bytes)
    append(Checksum.xxh3(bytes), &bytes)
    return bytes
  }

  private static func append(_ number: UInt64, _ bytes: inout [UInt8]) {
    for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift))) }
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The valid slots of a file, which may be of any length.
  private static func marks(_ file: borrowing OpenFile) throws(StoreError) -> [Mark] {
    let bytes = try read(file)
    var marks: [Mark] = []
    for slot in 0..<bytes.count / slotByteCount {
      let bytes = bytes[slot * slotByteCount..<(slot + 1) * slotByteCount]
      let content = bytes.dropLast(8)
      guard number(bytes.suffix(8)) == Checksum.xxh3(Array(content)),
        let number = Int64(exactly: number(content.suffix(8))), number <= numberLimit,
        number % Int64(slotCount) == Int64(slot)
      else { continue }
      marks.append(Mark(store: Array(content.dropLast(8)), number: number))
    }
    return marks
  }

  // MARK: The file

  private func write(_ bytes: [UInt8], at place: Int) throws(StoreError) {
    switch file {
    case .some(let file): try Self.write(bytes, at: place, file)
    case .none: throw .damaged("\(path): is missing")
    }
  }

  private static func write(_ bytes: [UInt8], at place: Int, _ file: borrowing OpenFile) throws(StoreError) {
    try unsafe bytes.span.bytes.withUnsafeBytes { (bytes) throws(StoreError) in unsafe try file.write(bytes, at: place)
    }
  }

  private static func read(_ file: borrowing OpenFile) throws(StoreError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    let count = try unsafe span.withUnsafeMutableBytes { (bytes) throws(StoreError) in
      unsafe try file.read(into: bytes, at: 0)
    }
    return Array(bytes.prefix(count))
  }
}
