/// What libFuzzer calls. tools/fuzz/run compiles it with the targets of Tests/FuzzTests/Targets, once per target.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  #if FUZZ_header
    HeaderTarget.run(bytes)
  #elseif FUZZ_row
    RowTarget.run(bytes)
  #elseif FUZZ_events
    EventTarget.run(bytes)
  #elseif FUZZ_queries
    QueryTarget.run(bytes)
  #elseif FUZZ_store
    StoreTarget.run(bytes)
  #endif
  return 0
}
