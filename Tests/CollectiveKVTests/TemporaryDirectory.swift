/// Where tests keep their stores. In memory where the system has such a place: these tests wait for commits, not for
/// disks.

import CollectiveKV
import Foundation

/// A directory of its own, removed with everything in it.
final class TemporaryDirectory: Sendable {
  let path: String

  /// - Parameter isOnDisk: somewhere that is no memory, for what file systems do differently.
  init(isOnDisk: Bool = false) throws {
    let memory = "/dev/shm"
    let parent = !isOnDisk && FileSystem.isWritable(memory) ? memory : FileManager.default.temporaryDirectory.path
    path = "\(parent)/ckvdb-store-\(UUID().uuidString)"
    try FileSystem.makeDirectory(path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
  }

  func bytes(of name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: file(name)))) }

  /// What is in the directory, hidden names too, in order.
  var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }

  /// Writes the model and makes a store of it.
  func makeStore(
    _ model: TestModel, _ options: CreateOptions = .init(durability: .normal), named name: String = "shop.ckv"
  ) throws -> CacheStore {
    let modelFile = file("model-\(name).safetensors")
    try model.write(to: modelFile)
    return try CacheStore.create(at: file(name), model: modelFile, options: options)
  }
}

/// Permission bits of what is at a path.
func permissions(of path: String) throws -> Int {
  let attributes = try FileManager.default.attributesOfItem(atPath: path)
  return (attributes[.posixPermissions] as? NSNumber)?.intValue ?? -1
}

/// What a call throws, or `nil`.
func thrown(_ body: () throws(StoreError) -> Void) -> StoreError? {
  do throws(StoreError) {
    try body()
    return nil
  } catch {
    return error
  }
}

/// The reason in an error of the caller's or of the files', or what else it is.
func reason(_ error: StoreError?) -> String {
  switch error {
  case .invalidInput(let reason), .damaged(let reason), .invalidModel(_, let reason), .notAStore(_, let reason): reason
  case let other: "another kind of error: \(String(describing: other))"
  }
}
