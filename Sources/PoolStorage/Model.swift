/// A model as the engine uses it: tensors, shapes and settings of every layer. Plain values over a mapped file, which
/// they keep alive. ModelReader makes them and has checked every rule.

package import CacheTypes

/// The rotations that a layer brings for the attention functions that hash keys.
package struct LayerRotations: Sendable {
  /// `b x d_k`.
  package var simhash: Tensor?
  /// `G x t x d_k`.
  package var sdim: Tensor?

  package init(simhash: Tensor? = nil, sdim: Tensor? = nil) {
    self.simhash = simhash
    self.sdim = sdim
  }
}

/// What the model says about a layer's attention; a call may say otherwise.
package struct LayerSettings: Sendable, Hashable {
  /// Factor of the scores: finite, above 0. Absent: 1 / sqrt(d_k / heads).
  package var scale: Float?
  /// Divisor of the silu functions: finite, not 0.
  package var divisor: Float?

  package init(scale: Float? = nil, divisor: Float? = nil) {
    self.scale = scale
    self.divisor = divisor
  }
}

/// One model.
package struct Model: Sendable {
  /// XXH3-128 of the blob; empty for a model that is not in a blob yet.
  package let digest: [UInt8]
  package let shape: ModelShape
  package let layers: [LayerTensors]
  package let rotations: [LayerRotations]
  package let settings: [LayerSettings]
  /// `items x d_e`.
  package let itemEmbedding: Tensor?
  /// Whether embeddings are rows of `itemEmbedding` (`ckvdb.input` is `item`) instead of the caller's.
  package let takesItems: Bool
}

extension Model {
  /// Takes the tensors that the engine names out of a file and checks them against each other.
  ///
  /// - Parameters:
  ///   - digest: the digest of the file's bytes, if it is a blob.
  ///   - checksNumbers: whether to look for infinities and NaNs, which reads every tensor once.
  /// - Throws: the file's kind of error, with the tensor or the metadata key, what was seen and what was expected.
  package init(_ file: SafetensorsFile, digest: [UInt8], checksNumbers: Bool = true) throws(StoreError) {
    var reader = try ModelReader(file)
    self = try reader.read(digest: digest, checksNumbers: checksNumbers)
  }
}

/// Limits of what the engine takes, far beyond any model and small enough that products of two of them fit an Int.
package enum ModelLimits {
  package static let layerCount = 4096
  /// Of d_e, d_u, d_g, d_k, d_v, and of the rotations' b, G and t.
  package static let width = 65_536
  /// Of m, and of the rows of `items.embedding`.
  package static let rowCount = 1 << 31
}
