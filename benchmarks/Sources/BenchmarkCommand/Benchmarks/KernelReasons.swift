/// Why kernels take more than twice their floor, or come so near that a run may show it. A kernel without a reason here
/// must not. ARCHITECTURE.md's table is made of these.

enum KernelReasons {
  static let all: [String: String] = [
    "row_dots f32": rows + "; lanes of every row are added up",
    "head_dots f32": rows + "; lanes of four heads per row are added up",
    "row_sum f32": rows,
    "head_sums f32": rows,
    "head_dots f16": "lanes of four heads per row are added up, in an order that fixes the bits",
    "head_dots bf16": "lanes of four heads, as for f16",
    "copy_rows f16 to f16": "rows of 508 bytes lie across cache lines: loads touch two",
    "copy_rows bf16 to f16": "two conversions per number, and a check for NaN",
    "row_dots f16 from memory": "lines are asked for 8 rows ahead: enough for caches, not for memory",
    "project_f32, 2 outputs": "a panel is 16 outputs wide, 14 of them padding; the router takes fifty times as long",
    "project_f32, 16 outputs": "one panel: every embedding is read for 16 outputs only, and the sums are turned into "
      + "columns one number at a time",
    "pack_panels_f32": "once per model, when it is opened: plain C, stores 64 bytes apart",
    "scores_f32": "the table is put together in registers, four steps per sixteen numbers",
    "add_rows_f32": "every vector is one chain of sums, in order, and every load is masked",
    "compact_f32": "the place of the next store hangs on the count before it: a chain of some 5 cycles per 16 numbers",
    "compact_heads_f32": "the same chain, for every four rows",
    "first_nonfinite_f32": "a comparison, a mask and a branch per 16 numbers; once per query",
    "max_u32": "one chain, a mask per 16 numbers; once per read",
    "head_totals_f32": "a mask is made for every vector; the exponentials take five times as long",
    "gather_heads_f32": "a position at a time: an index, a row of 16 bytes, a number put into it",
    "scatter_heads_f32": "the same, and a row of the sums read, added to and written",
    "block scores": "a position at a time: an index, two numbers spread to vectors, one chain of greatest scores",
    "block column_sums": "four groups of sums in an order that fixes the bits; numbers are spread to vectors",
    "block empty_rows": "a comparison into a mask per row, one chain",
    "select_top_f32": "up to 32 passes that count scores, one per bit of the bound; then number by number",
    "gather_scores_f32": "the greatest score is one chain of comparisons",
    "signs_f32": "64 bits are made one step of 16 at a time, and a position's row of the table is found for each",
    "nearest_u64": "the bound is found by halving: some six passes over the distances",
    "matching_u64": "matches are written through a compressed register, whose place hangs on the count before",
    "copy_columns_f32 to f16": "a number at a time, each to a line of its own",
    "unpack_bits_u32": "eight numbers at a time at every level",
  ]

  private static let rows = "rows of 1,016 bytes lie across cache lines: nearly every load touches two"
}
