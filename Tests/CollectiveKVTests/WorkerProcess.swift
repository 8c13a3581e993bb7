/// A second process: the test runner itself, started again with one test that does what its standard input says, line
/// by line, and answers each line with one of its own. A worker can be killed at any moment, which no thread can.

import Foundation
import Testing

/// One worker. Used by one thread at a time.
final class WorkerProcess {
  struct Silent: Error, CustomStringConvertible { var description: String }

  /// What tells the runner that it is a worker.
  private static let variable = "CKVDB_TEST_WORKER"
  static var isThisOne: Bool { ProcessInfo.processInfo.environment[variable] != nil }
  /// Answers start with it; the runner writes lines of its own.
  static let mark = "@ckvdb "
  private static let patienceMilliseconds: Int32 = 120_000

  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private var received: [UInt8] = []

  init() throws {
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = ["--testing-library", "swift-testing", "--filter", "WorkerTests"]
    process.environment = ProcessInfo.processInfo.environment.merging([Self.variable: "1"]) { $1 }
    process.standardInput = input
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
  }

  deinit { kill() }

  /// Gives an order without waiting for the answer.
  func tell(_ line: String) throws {
    try input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
  }

  /// The next answer.
  func answer() throws -> String {
    while true {
      if let end = received.firstIndex(of: UInt8(ascii: "\n")) {
        let line = String(decoding: received[..<end], as: UTF8.self)
        received.removeSubrange(...end)
        if line.hasPrefix(Self.mark) { return String(line.dropFirst(Self.mark.count)) }
        continue
      }
      var waiting = pollfd(fd: output.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&waiting, 1, Self.patienceMilliseconds) > 0 else { throw Silent(description: "a worker hangs") }
      let bytes = output.fileHandleForReading.availableData
      guard !bytes.isEmpty else { throw Silent(description: "a worker ended") }
      received += bytes
    }
  }

  func ask(_ line: String) throws -> String {
    try tell(line)
    return try answer()
  }

  /// Kills the process as `kill -9` does, and waits until it is gone.
  func kill() {
    guard process.isRunning else { return }
    _ = Foundation.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }
}

/// The worker's side.
struct WorkerTests {
  @Test(.enabled(if: WorkerProcess.isThisOne, "for the runner's own second process"))
  func `a worker answers every line`() throws {
    let hands = StoreHands()
    while let line = readLine() {
      let answer = WorkerProcess.mark + hands.obey(line) + "\n"
      try FileHandle.standardOutput.write(contentsOf: Data(answer.utf8))
    }
  }
}
