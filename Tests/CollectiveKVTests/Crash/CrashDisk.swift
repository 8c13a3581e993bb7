/// What a disk may hold after a loss of power, told from a log of operations. A file is what its last sync left plus
/// any part of what was written since; a directory holds the names of its last sync plus any of the later
/// changes, each whole. That is less than any real file system promises.

import CollectiveKV
import Foundation

/// Which of the things that nothing has ordered are on the disk.
struct CrashChoice {
  enum Mode: Int, CaseIterable {
    case everything, nothing, someWrites, tornPrefix, someSectors, garbage
  }
  var mode: Mode
  var random: SeededRandom

  /// The first two of a prefix are the extremes.
  init(seed: Int, workload: Int, prefix: Int, choice: Int) {
    random = SeededRandom(((seed &* 31 &+ workload) &* 1_000_003 &+ prefix) &* 1_009 &+ choice)
    mode = choice < 2 ? Mode(rawValue: choice)! : Mode(rawValue: 2 + random.below(4))!
  }
}

final class CrashDisk {
  fileprivate enum Change {
    case write(offset: Int, bytes: [UInt8])
    case truncate(Int)
  }

  fileprivate final class Node {
    let isDirectory: Bool
    var durable: [UInt8] = []
    var changes: [(number: Int, change: Change)] = []
    var durableNames: [String: Node] = [:]
    var names: [String: Node] = [:]
    var nameChanges: [(number: Int, changes: [(name: String, node: Node?)])] = []
    /// The operation that last synced it.
    var version = 0
    init(isDirectory: Bool) { self.isDirectory = isDirectory }
  }

  static let sectorByteCount = 512
  /// Tests are not optimised: bytes are moved in pieces, never one by one.
  private static let zeros = [UInt8](repeating: 0, count: 65_536)
  private let rootPath: String
  private let root = Node(isDirectory: true)
  private var handles: [Int: Node] = [:]
  private var number = 0

  /// - Parameter image: what the directory holds, all of it durable.
  init(_ rootPath: String, image: CrashImage) {
    self.rootPath = rootPath
    for directory in image.directories.sorted() { add(directory, Node(isDirectory: true)) }
    for (path, bytes) in image.files {
      let node = Node(isDirectory: false)
      node.durable = bytes
      add(path, node)
    }
  }

  private func add(_ path: String, _ node: Node) {
    let (directory, name) = place(path)
    directory.names[name] = node
    directory.durableNames[name] = node
  }

  /// The directory that a path relative to the root is in, and its name there.
  private func place(_ path: String) -> (Node, String) {
    var parts = path.split(separator: "/").map(String.init)
    let name = parts.removeLast()
    var node = root
    for part in parts { node = node.names[part]! }
    return (node, name)
  }

  private func relative(_ path: String) -> String { String(path.dropFirst(rootPath.count + 1)) }

  private func change(_ directory: Node, _ changes: [(name: String, node: Node?)]) {
    for change in changes { directory.names[change.name] = change.node }
    directory.nameChanges.append((number, changes))
  }

  func apply(_ operation: FileOperation) {
    number += 1
    switch operation {
    case .open(let path, let handle, let isNew):
      guard path != rootPath else {
        handles[handle] = root
        return
      }
      let (directory, name) = place(relative(path))
      if isNew { change(directory, [(name, Node(isDirectory: false))]) }
      handles[handle] = directory.names[name]
    case .write(let handle, let offset, let bytes):
      handles[handle]!.changes.append((number, .write(offset: offset, bytes: bytes)))
    case .truncate(let handle, let size): handles[handle]!.changes.append((number, .truncate(size)))
    case .sync(let handle):
      let node = handles[handle]!
      for change in node.changes { Self.apply(change.change, to: &node.durable) }
      if !node.changes.isEmpty || !node.nameChanges.isEmpty { node.version = number }
      node.changes = []
      node.durableNames = node.names
      node.nameChanges = []
    case .rename(let old, let new):
      let (from, oldName) = place(relative(old))
      let (to, newName) = place(relative(new))
      let node = from.names[oldName]
      if from === to {
        change(from, [(oldName, nil), (newName, node)])
      } else {
        change(to, [(newName, node)])
        change(from, [(oldName, nil)])
      }
    case .makeDirectory(let path):
      let (directory, name) = place(relative(path))
      change(directory, [(name, Node(isDirectory: true))])
    case .unlink(let path), .removeDirectory(let path):
      let (directory, name) = place(relative(path))
      change(directory, [(name, nil)])
    }
  }

  private static func apply(_ change: Change, to bytes: inout [UInt8]) {
    switch change {
    case .truncate(let size):
      if size < bytes.count { bytes.removeLast(bytes.count - size) } else { grow(&bytes, to: size) }
    case .write(let offset, let new): put(new, 0..<new.count, at: offset, &bytes)
    }
  }

  private static func grow(_ bytes: inout [UInt8], to size: Int) {
    bytes.reserveCapacity(size)
    zeros.withUnsafeBufferPointer { zeros in
      while bytes.count < size {
        bytes.append(contentsOf: UnsafeBufferPointer(rebasing: zeros[0..<min(zeros.count, size - bytes.count)]))
      }
    }
  }

  private static func put(_ new: [UInt8], _ range: Range<Int>, at offset: Int, _ bytes: inout [UInt8]) {
    grow(&bytes, to: offset + range.upperBound)
    guard !range.isEmpty else { return }
    bytes.withUnsafeMutableBytes { target in
      new.withUnsafeBytes { source in
        _ = memcpy(target.baseAddress! + offset + range.lowerBound, source.baseAddress! + range.lowerBound, range.count)
      }
    }
  }

  // MARK: After the crash

  /// One state. Its fingerprint tells it from other choices, so that no state is counted twice.
  func state(_ choice: CrashChoice) -> (image: CrashImage, fingerprint: Int) {
    var choice = choice
    var image = CrashImage()
    var hasher = Hasher()
    fill(&image, root, "", &choice, &hasher)
    return (image, hasher.finalize())
  }

  private func fill(
    _ image: inout CrashImage, _ directory: Node, _ path: String, _ choice: inout CrashChoice, _ hasher: inout Hasher
  ) {
    var names = directory.durableNames
    hasher.combine(directory.version)
    let stop = choice.random.below(directory.nameChanges.count + 1)
    let isPrefix = choice.random.chance(50)
    for (place, changes) in directory.nameChanges.enumerated() {
      let isKept =
        switch choice.mode {
        case .everything: true
        case .nothing: false
        default: isPrefix ? place < stop : choice.random.chance(50)
        }
      guard isKept else { continue }
      hasher.combine(changes.number)
      for change in changes.changes { names[change.name] = change.node }
    }
    for (name, node) in names.sorted(by: { $0.key < $1.key }) {
      let path = path.isEmpty ? name : "\(path)/\(name)"
      if node.isDirectory {
        image.directories.append(path)
        fill(&image, node, path, &choice, &hasher)
      } else {
        image.files[path] = content(node, &choice, &hasher)
      }
    }
  }

  private func content(_ node: Node, _ choice: inout CrashChoice, _ hasher: inout Hasher) -> [UInt8] {
    hasher.combine(node.version)
    guard !node.changes.isEmpty, choice.mode != .nothing else { return node.durable }
    var bytes = node.durable
    let share = [10, 50, 90][choice.random.below(3)]
    let stop = choice.random.below(node.changes.count + 1)
    let garbled = choice.random.below(node.changes.count)
    for (place, (number, change)) in node.changes.enumerated() {
      switch (choice.mode, change) {
      case (.everything, _):
        hasher.combine(number)
        Self.apply(change, to: &bytes)
      case (.tornPrefix, _) where place < stop:
        hasher.combine(number)
        Self.apply(change, to: &bytes)
      case (.tornPrefix, .write(let offset, let new)) where place == stop:
        let sectors = choice.random.below((new.count + Self.sectorByteCount - 1) / Self.sectorByteCount + 1)
        let first = sectors == 0 ? 0 : min(new.count, sectors * Self.sectorByteCount - offset % Self.sectorByteCount)
        hasher.combine(-first)
        Self.put(new, 0..<first, at: offset, &bytes)
      case (.someSectors, .write(let offset, let new)):
        var start = 0
        while start < new.count {
          let end = min(new.count, start + Self.sectorByteCount - (offset + start) % Self.sectorByteCount)
          if choice.random.chance(share) {
            hasher.combine(number &* 1_000 &+ start)
            Self.put(new, start..<end, at: offset, &bytes)
          }
          start = end
        }
      case (.garbage, .write(let offset, let new)) where place == garbled && !new.isEmpty:
        // One sector holds neither what was there nor what was to be there.
        var torn = new
        let start = choice.random.below(new.count)
        for place in start..<min(new.count, start + Self.sectorByteCount - (offset + start) % Self.sectorByteCount) {
          torn[place] = UInt8(choice.random.below(256))
        }
        hasher.combine(start)
        Self.put(torn, 0..<torn.count, at: offset, &bytes)
      case (.someWrites, _), (.someSectors, _), (.garbage, _):
        guard choice.random.chance(share) else { continue }
        hasher.combine(number)
        Self.apply(change, to: &bytes)
      default: break
      }
    }
    return bytes
  }
}

/// The content of a directory tree, by path below its root.
struct CrashImage {
  var directories: [String] = []
  var files: [String: [UInt8]] = [:]

  init() {}

  init(of root: String) throws {
    for case let name as String in FileManager.default.enumerator(atPath: root)! {
      var isDirectory: ObjCBool = false
      _ = FileManager.default.fileExists(atPath: "\(root)/\(name)", isDirectory: &isDirectory)
      if isDirectory.boolValue { directories.append(name) } else { files[name] = try Self.read("\(root)/\(name)") }
    }
  }

  private static func read(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// Makes the tree below a directory that is empty.
  func write(below root: String) throws {
    for directory in directories.sorted() { try FileSystem.makeDirectory("\(root)/\(directory)") }
    for (path, bytes) in files {
      let file = try OpenFile("\(root)/\(path)", .creating)
      let result = bytes.withUnsafeBytes { bytes in Result { try file.write(bytes) } }
      try result.get()
    }
  }
}
