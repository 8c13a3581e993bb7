/// Fuzz target: a stream of events, plain or compressed. However it is cut into chunks, it is the same stream.

import CKVDBCommand
import CacheTypes

enum EventTarget {
  private struct Pieces: ChunkReader {
    let name = "stream"
    var rest: ArraySlice<UInt8>
    let count: Int

    mutating func read() throws(CommandFailure) -> [UInt8] {
      defer { rest = rest.dropFirst(count) }
      return Array(rest.prefix(count))
    }
  }

  private struct Answer: Equatable {
    var events: [Event] = []
    var failure: CommandFailure?
  }

  static func run(_ bytes: [UInt8]) {
    var input = FuzzBytes(bytes)
    let needsTimestamps = input.byte() % 2 == 0
    let stream = input.all()
    let answers = [max(1, stream.count), 7, 1].map { count -> Answer in
      var parser = EventParser(Inflater(Pieces(rest: stream[...], count: count)), needsTimestamps: needsTimestamps)
      var answer = Answer()
      do throws(CommandFailure) {
        while answer.events.count < 10_000, let event = try parser.next() { answer.events.append(event) }
      } catch {
        answer.failure = error
      }
      return answer
    }
    let isCompressed = stream.starts(with: [0x1F, 0x8B])
    for other in answers.dropFirst() {
      let isSame =
        answers[0].failure == nil || !isCompressed
        ? answers[0] == other
          // How much is handed out before damage is found hangs on the chunks; that it is found does not.
        : other.failure != nil && zip(answers[0].events, other.events).allSatisfy { $0 == $1 }
      precondition(isSame, "the same stream in other chunks: \(answers[0]), \(other)")
    }
    for event in answers[0].events {
      if case .bytes(let user) = event.user { precondition(user.count <= UserID.byteCountLimit, "a user id's length") }
      precondition((event.timestamp != nil) == needsTimestamps, "timestamps where they are asked for")
    }
  }
}
