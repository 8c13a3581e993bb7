/// The rules of a model file: each broken alone, in a model that is otherwise good.

import CacheTypes
import PoolStorage
import Testing

struct BrokenModel: Sendable, CustomTestStringConvertible {
  let name: String
  let reason: String
  let change: @Sendable (inout ModelFile) -> Void
  var testDescription: String { name }

  init(_ name: String, _ reason: String, _ change: @escaping @Sendable (inout ModelFile) -> Void) {
    self.name = name
    self.reason = reason
    self.change = change
  }
}

let brokenModels: [BrokenModel] = [
  // Layers.
  BrokenModel("no layers", "this is no model") { $0.remove("layers.") },
  BrokenModel("layer 0 missing", "there is no layer 0") { $0.remove("layers.0.") },
  BrokenModel("a gap in the layers", "there is no layer 2") { $0.set("layers.3.key.pool", [2, 2]) },
  BrokenModel("leading zero in a layer's number", #""01" is no layer number"#) {
    $0.set("layers.01.key.pool", [2, 2])
  },
  BrokenModel("negative layer", #""-1" is no layer number"#) { $0.set("layers.-1.key.pool", [2, 2]) },
  BrokenModel("signed layer", #""+2" is no layer number"#) { $0.set("layers.+2.key.pool", [2, 2]) },
  BrokenModel("layer of no number", #""" is no layer number"#) { $0.set("layers..key.pool", [2, 2]) },
  BrokenModel("layer beyond 64 bits", "is no layer number") { $0.set("layers.99999999999999999999.key.pool", [2, 2]) },
  BrokenModel("layer beyond the limit", "the limit is 4096 layers") { $0.set("layers.4096.key.pool", [2, 2]) },
  BrokenModel("rotations of a layer that is not there", "layers.2.key.pool is missing") {
    $0.set("layers.2.rotations.simhash", [2, 2])
  },
  BrokenModel("value without key", "layers.2.key.pool is missing") { $0.set("layers.2.value.pool", [2, 2]) },
  // Parts.
  BrokenModel("key projection without pool", "layers.0.key.projection.weight is there") {
    $0.remove("layers.0.key.pool")
  },
  BrokenModel("value projection without pool", "layers.0.value.projection.weight is there") {
    $0.remove("layers.0.value.pool")
  },
  BrokenModel("value router without pool", "layers.1.value.router.weight is there") {
    $0.remove("layers.1.value.pool")
    $0.set("layers.1.value.router.weight", [3, 5])
  },
  BrokenModel("weight without bias", "layers.0.key.projection.bias is missing") {
    $0.remove("layers.0.key.projection.bias")
  },
  BrokenModel("bias without weight", "layers.0.key.projection.weight is missing") {
    $0.remove("layers.0.key.projection.weight")
  },
  BrokenModel("router weight without bias", "layers.0.key.router.bias is missing") {
    $0.remove("layers.0.key.router.bias")
  },
  BrokenModel("router bias without weight", "layers.0.value.router.weight is missing") {
    $0.remove("layers.0.value.router.weight")
  },
  BrokenModel("bias of another width", "layers.0.key.projection.bias has shape [4], expected [3]") {
    $0.set("layers.0.key.projection.bias", [4])
  },
  BrokenModel("bias as matrix", "layers.0.key.projection.bias has shape [3, 1], expected [3]") {
    $0.set("layers.0.key.projection.bias", [3, 1])
  },
  BrokenModel("router rows are not the pool's", "layers.0.key.router.weight has shape [8, 5], expected 9 rows") {
    $0.set("layers.0.key.router.weight", [8, 5])
    $0.set("layers.0.key.router.bias", [8])
  },
  BrokenModel("router bias is not the pool's", "layers.0.key.router.bias has shape [8], expected [9]") {
    $0.set("layers.0.key.router.bias", [8])
  },
  BrokenModel("shared router, another pool", "layers.1.value.pool has 4 rows; a value without a router") {
    $0.set("layers.1.value.pool", [4, 4])
  },
  BrokenModel(
    "embedding widths of a layer differ", "takes embeddings of width 6, layers.0.key.projection.weight of width 5"
  ) {
    $0.set("layers.0.key.router.weight", [9, 6])
  },
  BrokenModel("embedding widths of two layers differ", "layers.1.key.projection.weight takes embeddings of width 4") {
    $0.set("layers.1.key.projection.weight", [2, 4])
  },
  BrokenModel("item embeddings of another width", "items.embedding takes embeddings of width 4") {
    $0.set("items.embedding", [11, 4])
  },
  BrokenModel("embeddings of width 0", "layers.0.key.projection.weight takes embeddings of width 0") {
    $0.set("layers.0.key.projection.weight", [3, 0])
  },
  BrokenModel("no items", "items.embedding has shape [0, 5], expected [items, d_e]") {
    $0.set("items.embedding", [0, 5])
  },
  BrokenModel("basis without projection", "layers.1.value.projection.weight is missing") {
    $0.set("layers.1.value.basis", [4, 2])
  },
  BrokenModel("basis turned around", "layers.1.key.basis has shape [2, 6], expected [d_g, d_u] = [6, 2]") {
    $0.set("layers.1.key.basis", [2, 6])
  },
  BrokenModel("projection of nothing", "layers.0.key.projection.weight has shape [0, 5], expected at least one row") {
    $0.set("layers.0.key.projection.weight", [0, 5])
    $0.set("layers.0.key.projection.bias", [0])
  },
  BrokenModel("pool without rows", "layers.0.key.pool has shape [0, 7], expected [m, d_g] with m >= 1") {
    $0.set("layers.0.key.pool", [0, 7])
  },
  BrokenModel("pool as vector", "layers.0.key.pool has shape [63], expected two dimensions") {
    $0.set("layers.0.key.pool", [63])
  },
  BrokenModel("pool of three dimensions", "expected two dimensions") { $0.set("layers.0.key.pool", [9, 7, 1]) },
  BrokenModel("key of width 0", "layers.2.key is 0 numbers wide") { $0.set("layers.2.key.pool", [2, 0]) },
  BrokenModel("pool beyond the width limit", "at most 65536 columns") { $0.set("layers.2.key.pool", [1, 65_537]) },
  BrokenModel("part beyond the width limit", "layers.2.key is 65537 numbers wide") {
    $0.setPart("layers.2.key", d_e: 5, d_u: 1, d_g: 65_536, m: 1)
  },
  BrokenModel("projection beyond the width limit", "at most 65536 rows") {
    $0.set("layers.0.key.projection.weight", [65_537, 5])
  },
  BrokenModel(
    "pool beyond the row limit", "layers.2.key.pool has shape [2147483649, 0], expected at most 2147483648 rows"
  ) {
    $0.tensors["layers.2.key.pool"] = .init(dtype: .f32, shape: [2_147_483_649, 0], floats: [])
  },
  BrokenModel("simhash of another width", "layers.0.rotations.simhash has shape [4, 9], expected [b, 10]") {
    $0.set("layers.0.rotations.simhash", [4, 9])
  },
  BrokenModel("simhash of three dimensions", "expected [b, 10]") { $0.set("layers.0.rotations.simhash", [2, 2, 10]) },
  BrokenModel("simhash without bits", "expected [b, 10]") { $0.set("layers.0.rotations.simhash", [0, 10]) },
  BrokenModel("sdim of two dimensions", "expected [G, t, 6]") { $0.set("layers.1.rotations.sdim", [3, 6]) },
  BrokenModel("sdim without groups", "expected [G, t, 6]") { $0.set("layers.1.rotations.sdim", [0, 3, 6]) },
  // Types and numbers.
  BrokenModel("pool of F64", #"tensor "layers.0.key.pool" is F64, expected F32, F16 or BF16"#) {
    $0.set("layers.0.key.pool", [9, 7], .f64)
  },
  BrokenModel("bias of I32", #"tensor "layers.0.key.router.bias" is I32, expected"#) {
    $0.set("layers.0.key.router.bias", [9], .i32)
  },
  BrokenModel("items of U8", #"tensor "items.embedding" is U8, expected"#) { $0.set("items.embedding", [11, 5], .u8) },
  BrokenModel("rotations of I8", #"tensor "layers.0.rotations.simhash" is I8, expected"#) {
    $0.set("layers.0.rotations.simhash", [4, 10], .i8)
  },
  BrokenModel("an infinity in a pool", "layers.0.value.pool at index 19 holds an infinity or a NaN") {
    $0.tensors["layers.0.value.pool"]!.floats[19] = -.infinity
  },
  BrokenModel("a NaN in a rotation", "layers.1.rotations.sdim at index 0 holds") {
    $0.tensors["layers.1.rotations.sdim"]!.floats[0] = .nan
  },
  BrokenModel("an infinity in the last item", "items.embedding at index 54 holds") {
    $0.tensors["items.embedding"]!.floats[54] = .infinity
  },
  // Settings.
  BrokenModel("no format", "ckvdb.format is missing") { $0.metadata["ckvdb.format"] = nil },
  BrokenModel("format 2", #"ckvdb.format is "2", expected "1""#) { $0.metadata["ckvdb.format"] = "2" },
  BrokenModel("no heads", "neither ckvdb.heads nor ckvdb.heads.0") { $0.metadata["ckvdb.heads"] = nil },
  BrokenModel("heads of one layer only", "neither ckvdb.heads nor ckvdb.heads.1") {
    $0.metadata["ckvdb.heads"] = nil
    $0.metadata["ckvdb.heads.0"] = "2"
  },
  BrokenModel("heads do not divide the key", "layer 0: 3 heads do not divide d_k = 10") {
    $0.metadata["ckvdb.heads.0"] = "3"
  },
  BrokenModel("heads do not divide the value", "layer 0: 5 heads do not divide d_v = 6") {
    $0.metadata["ckvdb.heads.0"] = "5"
  },
  BrokenModel("no heads at all", #"ckvdb.heads is "0", expected an integer of 1"#) { $0.metadata["ckvdb.heads"] = "0" },
  BrokenModel("negative heads", #"ckvdb.heads is "-2""#) { $0.metadata["ckvdb.heads"] = "-2" },
  BrokenModel("signed heads", #"ckvdb.heads is "+2""#) { $0.metadata["ckvdb.heads"] = "+2" },
  BrokenModel("heads in words", #"ckvdb.heads is "two""#) { $0.metadata["ckvdb.heads"] = "two" },
  BrokenModel("heads beyond 64 bits", "expected an integer of 1 to 65536") {
    $0.metadata["ckvdb.heads"] = "99999999999999999999"
  },
  BrokenModel("unknown setting", #"metadata key "ckvdb.head" is unknown"#) { $0.metadata["ckvdb.head"] = "2" },
  BrokenModel("setting of a layer that is not there", #""ckvdb.heads.2" names no layer; there are 2"#) {
    $0.metadata["ckvdb.heads.2"] = "2"
  },
  BrokenModel("setting of a layer spelt another way", #""ckvdb.heads.00" names no layer"#) {
    $0.metadata["ckvdb.heads.00"] = "2"
  },
  BrokenModel("input by layer", #"metadata key "ckvdb.input.0" is unknown"#) { $0.metadata["ckvdb.input.0"] = "item" },
  BrokenModel("unknown input", #"ckvdb.input is "items", expected "item" or "external""#) {
    $0.metadata["ckvdb.input"] = "items"
  },
  BrokenModel("items without embeddings", "there is no items.embedding") {
    $0.metadata["ckvdb.input"] = "item"
    $0.remove("items.embedding")
  },
  BrokenModel("scale of 0", #"ckvdb.scale is "0", expected a finite number above 0"#) {
    $0.metadata["ckvdb.scale"] = "0"
  },
  BrokenModel("negative scale", "expected a finite number above 0") { $0.metadata["ckvdb.scale"] = "-1" },
  BrokenModel("scale that underflows", "expected a finite number above 0") { $0.metadata["ckvdb.scale.1"] = "1e-60" },
  BrokenModel("infinite scale", "expected a finite number above 0") { $0.metadata["ckvdb.scale"] = "inf" },
  BrokenModel("scale that overflows", "expected a finite number above 0") { $0.metadata["ckvdb.scale"] = "1e39" },
  BrokenModel("scale that is no number", "expected a finite number above 0") { $0.metadata["ckvdb.scale"] = "nan" },
  BrokenModel("scale in words", #"ckvdb.scale is "one""#) { $0.metadata["ckvdb.scale"] = "one" },
  BrokenModel("divisor of 0", #"ckvdb.divisor.1 is "0.0", expected a finite number other than 0"#) {
    $0.metadata["ckvdb.divisor.1"] = "0.0"
  },
  BrokenModel("empty divisor", #"ckvdb.divisor is """#) { $0.metadata["ckvdb.divisor"] = "" },
]

@Suite struct ModelTests {
  private let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  private func read(_ model: ModelFile, role: FileRole = .model) throws -> Model {
    try model.write(to: directory.file("model.safetensors"))
    let file = try SafetensorsFile(path: directory.file("model.safetensors"), followsLinks: false, role: role)
    return try Model(file, digest: [1, 2])
  }

  @Test(arguments: brokenModels)
  func `a model that breaks a rule is refused for its reason`(_ broken: BrokenModel) throws {
    var model = ModelFile.small()
    broken.change(&model)
    try model.write(to: directory.file("model.safetensors"))
    let file = try SafetensorsFile(path: directory.file("model.safetensors"), followsLinks: false, role: .model)
    let error = thrown { () throws(StoreError) in _ = try Model(file, digest: []) }
    #expect(reason(error).contains(broken.reason), "\(reason(error))")
    guard case .invalidModel(file.path, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test(arguments: [TensorDType.f32, .f16, .bf16])
  func `a good model is read as it is`(_ dtype: TensorDType) throws {
    var source = ModelFile.small(dtype: dtype)
    source.metadata["ckvdb.scale"] = "0.5"
    source.metadata["ckvdb.scale.1"] = "0.25"
    source.metadata["ckvdb.divisor.0"] = "-50"
    source.metadata["ckvdb.heads.1"] = "1"
    source.metadata["something.else"] = "kept out"
    let model = try read(source)
    #expect(model.digest == [1, 2])
    #expect(
      model.shape
        == ModelShape(
          embeddingWidth: 5,
          layers: [
            LayerShape(
              key: PartShape(userWidth: 3, poolWidth: 7, poolRows: 9, isAdditive: false, hasRouter: true),
              value: PartShape(userWidth: 1, poolWidth: 5, poolRows: 4, isAdditive: false, hasRouter: true), heads: 2),
            LayerShape(
              key: PartShape(userWidth: 2, poolWidth: 6, poolRows: 3, isAdditive: true, hasRouter: true),
              value: PartShape(userWidth: 0, poolWidth: 4, poolRows: 3, isAdditive: false, hasRouter: false), heads: 1),
          ]))
    #expect(model.settings == [LayerSettings(scale: 0.5, divisor: -50), LayerSettings(scale: 0.25)])
    #expect(!model.takesItems)
    #expect(model.itemEmbedding?.shape == [11, 5])
    #expect(model.rotations.map { $0.simhash?.shape } == [[4, 10], nil])
    #expect(model.rotations.map { $0.sdim?.shape } == [nil, [2, 3, 6]])
    let key = model.layers[1].key
    let pairs = [
      (key.pool, "key.pool"), (key.basis, "key.basis"), (key.projectionWeight, "key.projection.weight"),
      (key.projectionBias, "key.projection.bias"), (key.routerWeight, "key.router.weight"),
      (key.routerBias, "key.router.bias"), (model.layers[1].value?.pool, "value.pool"),
    ]
    for (tensor, name) in pairs {
      let wanted = source.tensors["layers.1." + name]!
      #expect(tensor?.floats() == wanted.floats, "\(name)")
      #expect(tensor?.shape == wanted.shape, "\(name)")
      #expect(tensor?.element == dtype.element, "\(name)")
    }
    #expect(model.layers[1].value?.projectionWeight == nil && model.layers[1].value?.routerWeight == nil)
  }

  @Test func `a key-only layer has no value`() throws {
    var source = ModelFile.small()
    source.remove("layers.1.value")
    let model = try read(source)
    #expect(model.shape.layers[1].value == nil && model.layers[1].value == nil)
  }

  @Test func `a key without a router is interned`() throws {
    var source = ModelFile()
    source.setPart("layers.0.key", d_e: 3, d_u: 0, d_g: 4, m: 6, router: false)
    source.setPart("layers.0.value", d_e: 3, d_u: 0, d_g: 2, m: 6, router: false)
    let model = try read(source)
    #expect(model.shape.needsItems && model.shape.layers[0].isInterned)
    #expect(model.shape.embeddingWidth == 0)
  }

  @Test func `item embeddings alone state the width`() throws {
    var source = ModelFile()
    source.setPart("layers.0.key", d_e: 3, d_u: 0, d_g: 4, m: 6, router: false)
    source.set("items.embedding", [6, 12])
    source.metadata["ckvdb.input"] = "item"
    let model = try read(source)
    #expect(model.shape.embeddingWidth == 12 && model.takesItems)
  }

  @Test func `a pool may have width 0 if the user part has not`() throws {
    var source = ModelFile()
    source.setPart("layers.0.key", d_e: 3, d_u: 4, d_g: 0, m: 1)
    #expect(try read(source).shape.layers[0].key.width == 4)
  }

  @Test func `other names are ignored, whatever they hold`() throws {
    var source = ModelFile.small()
    source.set("head.0.weight", [2, 2], .f64)
    source.set("layers.0.key.norm", [3])
    source.set("layers.7.mlp", [3], .u8)
    source.set("layers.x", [1])
    source.tensors["query.bias"] = .init(dtype: .f32, shape: [1], floats: [.nan])
    #expect(try read(source).shape == read(.small()).shape)
  }

  @Test func `the widest and the most heads are taken`() throws {
    var source = ModelFile()
    source.set("layers.0.key.pool", [1, ModelLimits.width])
    source.metadata["ckvdb.heads"] = "\(ModelLimits.width)"
    #expect(try read(source).shape.layers[0].heads == ModelLimits.width)
  }

  @Test func `a fault in a blob is damage`() throws {
    var source = ModelFile.small()
    source.metadata["ckvdb.format"] = "9"
    let error = thrown { () throws(StoreError) in
      do { _ = try read(source, role: .blob) } catch { throw error as! StoreError }
    }
    guard case .damaged = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  /// Every place in a tensor longer than one run of the scan, next to the runs' borders.
  @Test func `a number that is not finite is found wherever it is`() throws {
    let count = 3 * 8192 + 5
    for dtype in [TensorDType.f32, .f16, .bf16] {
      for place in [0, 1, 8191, 8192, 16383, 16384, count - 6, count - 5, count - 1] {
        for bad in [Float.infinity, -.infinity, .nan] {
          var source = ModelFile()
          source.set("layers.0.key.pool", [count, 2], dtype)
          source.tensors["layers.0.key.pool"]!.floats[place] = bad
          try source.write(to: directory.file("scan"))
          let file = try SafetensorsFile(path: directory.file("scan"), followsLinks: false, role: .model)
          let error = thrown { () throws(StoreError) in _ = try Model(file, digest: []) }
          #expect(reason(error) == "tensor layers.0.key.pool at index \(place) holds an infinity or a NaN")
        }
      }
    }
  }

  @Test func `the largest and smallest finite numbers are finite`() throws {
    var source = ModelFile()
    source.set("layers.0.key.pool", [2, 2])
    let greatest = Float.greatestFiniteMagnitude
    source.tensors["layers.0.key.pool"]!.floats = [greatest, -greatest, .leastNonzeroMagnitude, -0.0]
    #expect(try read(source).layers[0].key.pool.floats()[0] == greatest)
  }
}
