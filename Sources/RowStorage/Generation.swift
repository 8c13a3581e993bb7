/// Generations: what the small integer in every row stands for. A row can be decoded from its generation alone, so rows
/// of several generations may stand side by side while a store migrates.

internal import CacheTypes

/// One model version in one row format.
final class Generation: Sendable {
  let id: Int64
  /// The row of the table `model` that it belongs to.
  let modelID: Int64
  let codec: RowCodec
  /// Positions of a full block.
  let blockCapacity: Int

  var layout: RowLayout { codec.layout }
  /// What tail rows and open blocks hold.
  var arrival: ElementType { layout.element.arrival }

  init(id: Int64, modelID: Int64, layout: RowLayout, pageByteCount: Int) {
    self.id = id
    self.modelID = modelID
    codec = RowCodec(layout: layout)
    blockCapacity = layout.blockCapacity(pageByteCount: pageByteCount)
  }
}

extension Generation {
  /// All generations of a database.
  static func readAll(_ connection: borrowing Connection) throws(StoreError) -> [Int64: Generation] {
    let path = connection.path
    let pageByteCount = Int(try connection.integer("PRAGMA page_size") ?? 0)
    let statement = try connection.prepare(
      """
      SELECT generation.id, model.id, model.layout, element, columns, format
      FROM generation LEFT JOIN model ON model.id = generation.model ORDER BY generation.id
      """)
    var all: [Int64: Generation] = [:]
    while try statement.step() {
      let id = try statement.integer(0, atLeast: 1, "generation.id")
      guard id <= Int64(UInt16.max) else { throw .damaged("\(path): generation \(id) is beyond \(UInt16.max)") }
      let modelID = try statement.integer(1, atLeast: 1, "generation.model")
      guard let shape = ModelShape(encodedLayout: statement.bytes(2)) else {
        throw .damaged("\(path): the layout of model \(modelID) cannot be read")
      }
      let elementCode = try statement.integer(3, atLeast: 0, "generation.element")
      guard elementCode <= 255, let element = ElementType(rawValue: UInt8(elementCode)) else {
        throw .damaged("\(path): generation \(id) has the unknown element type \(elementCode)")
      }
      let columns = KeptColumns(rawValue: try statement.integer(4, atLeast: 0, "generation.columns"))
      guard KeptColumns.all.isSuperset(of: columns) else {
        throw .damaged("\(path): generation \(id) keeps unknown columns")
      }
      guard try statement.integer(5, atLeast: 1, "generation.format") == Int64(RowChecksum.payloadFormat) else {
        throw .damaged("\(path): generation \(id) has an unknown payload format")
      }
      let layout = RowLayout(shape: shape, element: element, columns: columns)
      all[id] = Generation(id: id, modelID: modelID, layout: layout, pageByteCount: pageByteCount)
    }
    return all
  }

  /// Adds a generation; the id is the next free one.
  static func insert(
    _ connection: borrowing Connection, modelID: Int64, layout: RowLayout
  ) throws(StoreError) -> Int64 {
    let id = (try connection.integer("SELECT max(id) FROM generation") ?? 0) + 1
    guard id <= Int64(UInt16.max) else { throw .invalidInput("the store has used up its \(UInt16.max) generations") }
    let statement = try connection.prepare(
      "INSERT INTO generation(id, model, element, columns, format) VALUES(?1, ?2, ?3, ?4, ?5)")
    statement.bind(id, at: 1)
    statement.bind(modelID, at: 2)
    statement.bind(Int64(layout.element.rawValue), at: 3)
    statement.bind(layout.columns.rawValue, at: 4)
    statement.bind(Int64(RowChecksum.payloadFormat), at: 5)
    try statement.run()
    return id
  }
}
