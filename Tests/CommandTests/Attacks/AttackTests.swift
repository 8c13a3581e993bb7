/// Files made by hand to break whoever reads them: models, databases with right checksums, streams, queries, inputs.
/// Each is refused with an error that names the place. Faults of safetensors headers have tests of their own beside the
/// reader.

import CacheTypes
import Foundation
import Testing

struct AttackTests {
  /// One attack, whatever its kind.
  private struct Attack {
    var name: String
    var reason: String
    var refusal: () throws -> String
  }

  @Test func `every hand-made attack file is refused with an error that names the place`() throws {
    let folder = try Folder()
    try ForgedStore.makeOriginal(in: folder)
    var attacks: [Attack] = []
    attacks += ModelAttack.all.map { attack in
      Attack(name: "model: \(attack.name)", reason: attack.reason) { try attack.refusal(folder) }
    }
    attacks += StoreAttack.all.map { attack in
      Attack(name: "store: \(attack.name)", reason: attack.reason) { try attack.refusal(folder) }
    }
    attacks += EventAttack.all.map { attack in
      Attack(name: "events: \(attack.name)", reason: attack.reason) { attack.refusal() }
    }
    attacks += TensorAttack.all.map { attack in
      Attack(name: "tensors: \(attack.name)", reason: attack.reason) { try attack.refusal(folder) }
    }
    #expect(attacks.count >= 60 && Set(attacks.map(\.name)).count == attacks.count)
    var refused = 0
    for attack in attacks {
      let text = try attack.refusal()
      if text.contains(attack.reason) {
        refused += 1
      } else {
        Issue.record("\(attack.name): expected \(attack.reason), saw: \(text.isEmpty ? "no refusal" : text)")
      }
    }
    print("hand-made attack files refused: \(refused) of \(attacks.count)")
  }

  @Test func `a store that nobody forged has nothing to refuse`() throws {
    let folder = try Folder()
    try ForgedStore.makeOriginal(in: folder)
    #expect(try ForgedStore(folder).refusals() == "")
    // Rows that are forged into themselves stay right: the checksum is computed as the store computes it.
    let store = try ForgedStore(folder)
    try store.tail { _ in }
    try store.tail(4) { _ in }
    try store.block { _ in }
    #expect(store.refusals() == "")
  }
}
