/// The example that README.md shows for the library, as it stands there: a test compares the two and runs it.

import CollectiveKV

enum ReadmeExample {
  /// Runs the example and hands out what it made.
  static func run() throws -> (full: FullKV, output: [Float], answers: [AttendResponse]) {
    // README:begin
    let store = try CacheStore.create(at: "shop.ckv", model: "model.safetensors")

    // User 42 saw three items; the model's encoder compresses their embeddings, n x layers x d_e.
    let embeddings: [Float] = [0.1, 0.7, 0.2, 0.9, 0.4, 0.3, 0.5, 0.8, 0.6, 0.1, 0.2, 0.3]
    try store.append(user: 42, embeddings: embeddings)

    // Full keys and values of one layer, and attention of one query over them, computed without making them.
    let full = try store.reconstruct(user: 42, layer: 0)
    let output = try store.attend([1, 0.5, 0, -0.5], user: 42, layer: 0, .softmax())

    // Many users' requests over two threads; two candidates, prepared once, scored against any number of users.
    let query: [Float] = [1, 0.5, 0, -0.5]
    let requests = [AttendRequest(user: 42, queries: query), AttendRequest(user: 7, queries: query)]
    let responses = try store.attend(requests, threads: 2)
    let candidates = try store.candidates(query + [0, 1, 0, 1])
    let scores = try store.attend(candidates, users: [42, 7], threads: 2)
    // README:end
    return (full, output, responses + scores)
  }
}
