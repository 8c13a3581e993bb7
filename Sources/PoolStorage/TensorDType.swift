/// What a safetensors header says about a tensor: its element type, shape and place. Plain values; the checks live in
/// SafetensorsHeader.swift.

package import CacheTypes

/// The element types of the safetensors format whose elements are whole bytes. The format's types of four and six bits
/// are unknown here: a file that holds one is refused.
package enum TensorDType: String, Sendable, Hashable, CaseIterable {
  case bool = "BOOL"
  case u8 = "U8"
  case i8 = "I8"
  case f8e5m2 = "F8_E5M2"
  case f8e4m3 = "F8_E4M3"
  case f8e8m0 = "F8_E8M0"
  case f8e5m2fnuz = "F8_E5M2FNUZ"
  case f8e4m3fnuz = "F8_E4M3FNUZ"
  case u16 = "U16"
  case i16 = "I16"
  case f16 = "F16"
  case bf16 = "BF16"
  case u32 = "U32"
  case i32 = "I32"
  case f32 = "F32"
  case u64 = "U64"
  case i64 = "I64"
  case f64 = "F64"
  case c64 = "C64"

  /// The name in a header.
  package var name: String { rawValue }

  /// Bytes of one element.
  package var byteCount: Int {
    switch self {
    case .bool, .u8, .i8, .f8e5m2, .f8e4m3, .f8e8m0, .f8e5m2fnuz, .f8e4m3fnuz: 1
    case .u16, .i16, .f16, .bf16: 2
    case .u32, .i32, .f32: 4
    case .u64, .i64, .f64, .c64: 8
    }
  }

  /// The engine's element type, for the types that a `Tensor` can hold.
  package var element: ElementType? {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    default: nil
    }
  }

  /// The type that holds a `Tensor` of this element in a file; `nil` for i8, which is no tensor's type.
  package init?(_ element: ElementType) {
    switch element {
    case .f32: self = .f32
    case .f16: self = .f16
    case .bf16: self = .bf16
    case .i8: return nil
    }
  }
}

/// One tensor of a file.
package struct TensorInfo: Sendable, Hashable {
  package let name: String
  package let dtype: TensorDType
  package let shape: [Int]
  /// Where its bytes are, counted from the start of the file.
  package let byteRange: Range<Int>

  /// Elements; the parser has checked that the product fits.
  package var count: Int { byteRange.count / dtype.byteCount }
}

/// A tensor that is going to be written.
package struct TensorPlan: Sendable, Hashable {
  package var name: String
  package var dtype: TensorDType
  package var shape: [Int]

  package init(name: String, dtype: TensorDType, shape: [Int]) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
  }

  /// Bytes of all elements, or `nil` if the shape has a negative length or the product does not fit.
  var byteCount: Int? { checkedByteCount(shape, dtype) }
}

/// The product of `shape` and the element's size, or `nil` if a length is negative or the product overflows. Lengths
/// after a zero are multiplied too: a shape that only fits because something is 0 is still refused.
func checkedByteCount(_ shape: [Int], _ dtype: TensorDType) -> Int? {
  var product = dtype.byteCount
  var isEmpty = false
  for length in shape {
    if length < 0 { return nil }
    if length == 0 {
      isEmpty = true
      continue
    }
    let (next, overflows) = product.multipliedReportingOverflow(by: length)
    if overflows { return nil }
    product = next
  }
  return isEmpty ? 0 : product
}

/// What a file is for, which decides the error that its faults become.
package enum FileRole: Sendable {
  /// A model file that a caller hands over: `invalidModel`.
  case model
  /// A stored blob: `damaged`.
  case blob
  /// A caller's data: `invalidInput`.
  case input

  func failure(_ path: String, _ reason: String) -> StoreError {
    switch self {
    case .model: .invalidModel(path: path, reason: reason)
    case .blob: .damaged("\(path): \(reason)")
    case .input: .invalidInput("\(path): \(reason)")
    }
  }
}
