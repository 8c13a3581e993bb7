/// One directory whose file operations are counted, logged or made to fail, through the C shim below SQLite and below
/// the store's own calls. Every test observes a directory of its own, so that tests run side by side.

import CFileShim
import CollectiveKV
import Foundation

/// One operation of the log.
enum FileOperation {
  case open(path: String, handle: Int, isNew: Bool)
  case write(handle: Int, offset: Int, bytes: [UInt8])
  case truncate(handle: Int, size: Int)
  /// Of a file or a directory.
  case sync(handle: Int)
  case rename(old: String, new: String)
  case unlink(path: String)
  case makeDirectory(path: String)
  case removeDirectory(path: String)
}

final class FileShim: @unchecked Sendable {
  private let shim: OpaquePointer

  init(_ root: String, records: Bool = false) throws {
    guard let shim = ckv_shim_start(root, records) else { throw CrashFault("too many observations at once") }
    self.shim = shim
  }

  deinit { ckv_shim_stop(shim) }

  var operationCount: Int { Int(ckv_shim_operations(shim)) }
  var openFileCount: Int { Int(ckv_shim_open_files(shim)) }
  var faultCount: Int { Int(ckv_shim_faults(shim)) }
  var recordCount: Int { ckv_shim_records(shim) }

  /// From operation `index` on, counted from the start of the observation.
  func setFault(_ fault: ckv_shim_fault, at index: Int, forever: Bool = false) {
    ckv_shim_set_fault(shim, fault, Int64(index), forever)
  }

  /// How much files may grow in all; `nil`: without limit.
  func setQuota(_ byteCount: Int?) { ckv_shim_set_quota(shim, Int64(byteCount ?? -1)) }

  func log() -> [FileOperation] {
    (0..<recordCount).map { index in
      let record = ckv_shim_record_at(shim, index)
      let path = String(cString: record.path)
      let handle = Int(record.handle)
      switch record.kind {
      case CKV_SHIM_OPEN: return .open(path: path, handle: handle, isNew: record.is_new)
      case CKV_SHIM_WRITE:
        let bytes = UnsafeRawBufferPointer(start: record.bytes, count: Int(record.count))
        return .write(handle: handle, offset: Int(record.offset), bytes: [UInt8](bytes))
      case CKV_SHIM_TRUNCATE: return .truncate(handle: handle, size: Int(record.count))
      case CKV_SHIM_SYNC: return .sync(handle: handle)
      case CKV_SHIM_RENAME: return .rename(old: path, new: String(cString: record.other))
      case CKV_SHIM_UNLINK: return .unlink(path: path)
      case CKV_SHIM_MKDIR: return .makeDirectory(path: path)
      default: return .removeDirectory(path: path)
      }
    }
  }
}

struct CrashFault: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// A number that the environment sets: how much of a figure is measured.
enum Figure {
  static func count(_ variable: String, _ usual: Int) -> Int {
    ProcessInfo.processInfo.environment[variable].flatMap(Int.init) ?? usual
  }

  /// A line for `tools/torture`, which collects them.
  static func report(_ name: String, _ count: Int, of asked: Int) { print("figure: \(name): \(count) of \(asked)") }
}
