/// The attention functions that a caller can ask for, each with its parameters. What a parameter that is left out
/// stands for is said here; which values are refused, where the function is applied.

/// An attention function with its parameters.
///
/// A query sees the positions below its own, at most `window` of them; every function acts on that range, and an empty
/// range gives zeros. Functions that select compare unscaled dot products in 32-bit floats; of equal ones the later
/// position is kept, and a `top` of as many positions as there are, or more, keeps all.
public struct Attention: Hashable, Sendable {
  /// Which function, with what only that function takes.
  public enum Kind: Hashable, Sendable {
    /// Multi-head scaled dot product attention.
    case softmax
    /// Per head, softmax over the `top` greatest dot products of that head.
    case topk(top: Int)
    /// Softmax over the positions that a search finds, the same for every head. `layer`: whose keys are searched;
    /// `nil`: the attended layer's own.
    case select(top: Int, layer: Int?)
    /// Softmax over the `top` positions whose hash codes differ least from the query's. `nil`: the model's rotations.
    case simhash(top: Int, rotations: Rotations?)
    /// Mean over groups of rotations of the sum of the values whose hash codes equal the query's, each sum divided by
    /// its l2 norm. `nil`: the model's rotations.
    case sdim(rotations: Rotations?)
    /// The same sums, not normalised.
    case sdimSum(rotations: Rotations?)
    /// Values weighted by `silu(scale q.k) / divisor`. `nil`: the model's divisor.
    case silu(divisor: Float?)
    /// Values weighted by `silu(scale q.k + bias[d]) / divisor`, d positions before the latest one seen.
    case siluBias(bias: [Float], divisor: Float?)
  }
  public var kind: Kind
  /// Factor of the dot products, finite and above 0; `nil`: the model's, or else 1/sqrt(d_k / heads).
  public var scale: Float?
  /// How many positions before the query's a query sees, at least 1; `nil`: all.
  public var window: Int?

  public init(_ kind: Kind, scale: Float? = nil, window: Int? = nil) {
    self.kind = kind
    self.scale = scale
    self.window = window
  }
}

/// Vectors that hash codes come from: bit r of a key's or a query's code is 1 where its dot product with vector r is
/// above 0.
public struct Rotations: Hashable, Sendable {
  /// `groups x bits x d_k`, row-major, all finite.
  public var values: [Float]
  /// How many codes a key has: 1 for SimHash, G for SDIM.
  public var groups: Int
  /// Bits of one code.
  public var bits: Int

  public init(_ values: [Float], groups: Int = 1, bits: Int) {
    self.values = values
    self.groups = groups
    self.bits = bits
  }
}

extension Attention {
  /// Softmax over the scaled dot products of the query with every key that it sees.
  public static func softmax(scale: Float? = nil, window: Int? = nil) -> Attention {
    Attention(.softmax, scale: scale, window: window)
  }

  /// Per head, softmax over the greatest dot products of that head (TWIN).
  ///
  /// - Parameter top: how many, at least 1.
  public static func topk(top: Int, scale: Float? = nil, window: Int? = nil) -> Attention {
    Attention(.topk(top: top), scale: scale, window: window)
  }

  /// Softmax over the positions whose search keys have the greatest dot products with the request's `selectQueries`
  /// (SIM).
  ///
  /// - Parameters:
  ///   - top: how many, at least 1.
  ///   - layer: whose keys are searched, whole keys whatever the heads; it may be a layer without values. `nil`: the
  ///     attended layer's own.
  public static func select(
    top: Int, layer: Int? = nil, scale: Float? = nil, window: Int? = nil
  ) -> Attention {
    Attention(.select(top: top, layer: layer), scale: scale, window: window)
  }

  /// Softmax over the positions nearest by Hamming distance of hash codes (ETA).
  ///
  /// - Parameters:
  ///   - top: how many, at least 1.
  ///   - rotations: one group; `nil`: the model's `layers.<l>.rotations.simhash`.
  public static func simhash(
    top: Int, rotations: Rotations? = nil, scale: Float? = nil, window: Int? = nil
  ) -> Attention {
    Attention(.simhash(top: top, rotations: rotations), scale: scale, window: window)
  }

  /// Mean over the groups of the normalised sums of the values in the query's hash bucket (SDIM).
  ///
  /// - Parameter rotations: `nil`: the model's `layers.<l>.rotations.sdim`.
  public static func sdim(rotations: Rotations? = nil, window: Int? = nil) -> Attention {
    Attention(.sdim(rotations: rotations), window: window)
  }

  /// The same, the sums not normalised.
  public static func sdimSum(rotations: Rotations? = nil, window: Int? = nil) -> Attention {
    Attention(.sdimSum(rotations: rotations), window: window)
  }

  /// Values weighted by SiLU of the scaled dot products (HSTU).
  ///
  /// - Parameter divisor: finite, not 0; `nil`: the model's `ckvdb.divisor`.
  public static func silu(divisor: Float? = nil, scale: Float? = nil, window: Int? = nil) -> Attention {
    Attention(.silu(divisor: divisor), scale: scale, window: window)
  }

  /// The same with a bias per distance from the latest position that the query sees.
  ///
  /// - Parameters:
  ///   - bias: at least one number per position that a query sees: `bias[0]` belongs to the latest.
  ///   - divisor: finite, not 0; `nil`: the model's `ckvdb.divisor`.
  public static func siluBias(
    _ bias: [Float], divisor: Float? = nil, scale: Float? = nil, window: Int? = nil
  ) -> Attention {
    Attention(.siluBias(bias: bias, divisor: divisor), scale: scale, window: window)
  }
}
