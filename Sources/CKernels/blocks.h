/* The kernels for several queries at once, for any level with vectors: a level's file says what a vector of CKV_LANES
 * numbers is, and how large the tiles are whose sums stay in registers. Included once by each of them.
 *
 * That file defines LEVEL, V and zero, set1, load16, load_all, load_first, store_all, store_first, fma3, add, sub, mul,
 * greater (a > b ? a : b), exponential_of, zero_lanes (a bit per lane), store_sums (the sums of a row's lanes), and
 *   DOT_TILE_ROWS x DOT_TILE_QUERIES   sums of a tile of dot products; the queries divide 16
 *   SUM_TILE_QUERIES x SUM_TILE_VECTORS   sums of a tile of weighted sums; the queries divide 16 */

INLINE size_t block_row(const uint32_t *rows, size_t index) { return rows ? rows[index] : index; }

/* --- dot products: lanes run over columns --- */

INLINE void dot_tile(const unsigned char *matrix, const size_t *starts, const int row_count,
                     const float *const *vectors, size_t width, float *sums, enum ckv_format format) {
  V lanes[DOT_TILE_ROWS][DOT_TILE_QUERIES];
  UNROLL for (int r = 0; r < row_count; r++)
    UNROLL for (int q = 0; q < DOT_TILE_QUERIES; q++) lanes[r][q] = zero();
  size_t c = 0;
  for (; c + 16 <= width; c += 16) {
    V row[DOT_TILE_ROWS];
    UNROLL for (int r = 0; r < row_count; r++) row[r] = load16(matrix, starts[r] + c, 16, format);
    UNROLL for (int q = 0; q < DOT_TILE_QUERIES; q++) {
      const V vector = load_all(vectors[q] + c);
      UNROLL for (int r = 0; r < row_count; r++) lanes[r][q] = fma3(row[r], vector, lanes[r][q]);
    }
  }
  if (c < width) {
    V row[DOT_TILE_ROWS];
    UNROLL for (int r = 0; r < row_count; r++) row[r] = load16(matrix, starts[r] + c, width - c, format);
    UNROLL for (int q = 0; q < DOT_TILE_QUERIES; q++) {
      const V vector = load_first(vectors[q] + c, width - c);
      UNROLL for (int r = 0; r < row_count; r++) lanes[r][q] = fma3(row[r], vector, lanes[r][q]);
    }
  }
  UNROLL for (int r = 0; r < row_count; r++) store_sums(sums + r * CKV_BLOCK, lanes[r]);
}

INLINE void block_dots(const void *matrix, size_t stride, const uint32_t *rows, size_t count, const float *vectors,
                       size_t vector_stride, size_t queries, size_t width, float *sums, enum ckv_format format) {
  size_t starts[DOT_TILE_ROWS], i = 0;
  /* Missing queries get the last one's numbers, or zeros where no tile needs them. */
  const float *all[CKV_BLOCK];
  for (size_t q = 0; q < CKV_BLOCK; q++) all[q] = vectors + (q < queries ? q : queries - 1) * vector_stride;
  const size_t needed = (queries + DOT_TILE_QUERIES - 1) / DOT_TILE_QUERIES * DOT_TILE_QUERIES;
  if (needed < CKV_BLOCK)
    for (size_t r = 0; r < count; r++)
      memset(sums + r * CKV_BLOCK + needed, 0, (CKV_BLOCK - needed) * sizeof *sums);
  for (; i + DOT_TILE_ROWS <= count; i += DOT_TILE_ROWS) {
    UNROLL for (int r = 0; r < DOT_TILE_ROWS; r++) starts[r] = block_row(rows, i + (size_t)r) * stride;
    for (size_t q = 0; q < needed; q += DOT_TILE_QUERIES)
      dot_tile(matrix, starts, DOT_TILE_ROWS, all + q, width, sums + i * CKV_BLOCK + q, format);
  }
  for (; i < count; i++) {
    starts[0] = block_row(rows, i) * stride;
    for (size_t q = 0; q < needed; q += DOT_TILE_QUERIES)
      dot_tile(matrix, starts, 1, all + q, width, sums + i * CKV_BLOCK + q, format);
  }
}

/* --- weighted sums: lanes run over columns, a tile holds those of several queries --- */

/* `vectors` x 16 columns from `column` on, `last` of them in the last vector, of the first `queries` queries. */
INLINE void sum_tile(const unsigned char *matrix, size_t stride, const uint32_t *rows, const float *weights,
                     size_t count, const float *scales, size_t queries, size_t column, const int vectors, size_t last,
                     float *sums, size_t sum_stride, enum ckv_format format) {
  V sum[SUM_TILE_QUERIES][SUM_TILE_VECTORS];
  UNROLL for (int q = 0; q < SUM_TILE_QUERIES; q++)
    UNROLL for (int v = 0; v < vectors; v++) sum[q][v] = zero();
  for (size_t i = 0; i < count; i++) {
    const size_t start = block_row(rows, i) * stride + column;
    V row[SUM_TILE_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++)
      row[v] = load16(matrix, start + (size_t)v * 16, v == vectors - 1 ? last : 16, format);
    UNROLL for (int q = 0; q < SUM_TILE_QUERIES; q++) {
      const V weight = set1(weights[i * CKV_BLOCK + (size_t)q]);
      UNROLL for (int v = 0; v < vectors; v++) sum[q][v] = fma3(weight, row[v], sum[q][v]);
    }
  }
  UNROLL for (int q = 0; q < SUM_TILE_QUERIES; q++)
    if ((size_t)q < queries)
      UNROLL for (int v = 0; v < vectors; v++)
        store_first(sums + (size_t)q * sum_stride + column + (size_t)v * 16, v == vectors - 1 ? last : 16,
                    mul(set1(scales[q]), sum[q][v]));
}

INLINE void block_sums(const void *matrix, size_t stride, const uint32_t *rows, const float *weights, size_t count,
                       const float *scales, size_t queries, size_t width, float *sums, size_t sum_stride,
                       enum ckv_format format) {
  for (size_t column = 0, columns; column < width; column += columns) {
    /* No vector is left alone: a tile of few sums waits for its loads. */
    const size_t left = (width - column + 15) / 16;
    const size_t wanted = left == SUM_TILE_VECTORS + 1 ? (left + 1) / 2 : SUM_TILE_VECTORS;
    columns = width - column < wanted * 16 ? width - column : wanted * 16;
    const size_t vectors = (columns + 15) / 16, last = columns - (vectors - 1) * 16;
    for (size_t q = 0; q < queries; q += SUM_TILE_QUERIES)
      switch (vectors) {
#define CASE(vectors)                                                                                                 \
  case vectors:                                                                                                       \
    if (vectors <= SUM_TILE_VECTORS)                                                                                  \
      sum_tile(matrix, stride, rows, weights + q, count, scales + q, queries - q, column, vectors, last,              \
               sums + q * sum_stride, sum_stride, format);                                                            \
    break;
        CASE(1) CASE(2)
#if SUM_TILE_VECTORS > 2
        CASE(3)
#endif
#if SUM_TILE_VECTORS > 3
        CASE(4)
#endif
#undef CASE
      }
  }
}

/* --- positions: lanes run over queries --- */

INLINE void block_scores(const float *table, const uint32_t *indices, const float *columns, size_t column_stride,
                         const float *coefficients, size_t dimensions, float scale, size_t count, float *scores,
                         float *greatest) {
  V best = set1(-INFINITY);
  const V factor = set1(scale);
  for (size_t i = 0; i < count; i++) {
    V score = load_all(table ? table + block_row(indices, i) * CKV_BLOCK : scores + i * CKV_BLOCK);
    for (size_t d = 0; d < dimensions; d++)
      score = fma3(load_all(coefficients + d * CKV_BLOCK), set1(columns[d * column_stride + i]), score);
    score = mul(factor, score);
    store_all(scores + i * CKV_BLOCK, score);
    best = greater(score, best);
  }
  store_all(greatest, best);
}

/* Lane l of a query adds up what stands at places l, l + 16, ...: here lanes are the rows of an array. */
INLINE void add_halves(V *lanes) {
  UNROLL for (int half = CKV_LANES / 2; half > 0; half /= 2)
    UNROLL for (int lane = 0; lane < half; lane++) lanes[lane] = add(lanes[lane], lanes[lane + half]);
}

INLINE void add_to_totals(double *totals, V run) {
  float sums[CKV_BLOCK];
  store_all(sums, run);
  for (int q = 0; q < CKV_BLOCK; q++) totals[q] += sums[q];
}

INLINE void block_exp_sums(float *values, size_t count, const float *shifts, double *totals) {
  const V shift = load_all(shifts);
  for (int q = 0; q < CKV_BLOCK; q++) totals[q] = 0;
  for (size_t first = 0; first < count; first += EXP_SUM_RUN) {
    const size_t end = count - first < EXP_SUM_RUN ? count : first + EXP_SUM_RUN;
    V lanes[CKV_LANES];
    for (int lane = 0; lane < CKV_LANES; lane++) lanes[lane] = zero();
    for (size_t i = first; i < end; i++) {
      const V e = exponential_of(sub(load_all(values + i * CKV_BLOCK), shift));
      store_all(values + i * CKV_BLOCK, e);
      lanes[i % CKV_LANES] = add(lanes[i % CKV_LANES], e);
    }
    add_halves(lanes);
    add_to_totals(totals, lanes[0]);
  }
}

INLINE void block_totals(const float *values, size_t count, double *totals) {
  for (int q = 0; q < CKV_BLOCK; q++) totals[q] = 0;
  const size_t run = EXP_SUM_RUN / CKV_GROUP;
  for (size_t first = 0; first < count; first += run) {
    const size_t end = count - first < run ? count : first + run;
    V lanes[CKV_LANES];
    for (int lane = 0; lane < CKV_LANES; lane++) lanes[lane] = zero();
    for (size_t i = first; i < end; i++)
      lanes[i % CKV_LANES] = add(lanes[i % CKV_LANES], load_all(values + i * CKV_BLOCK));
    /* Four groups of four rows; then the rows of a group, two and two. */
    for (int row = 0; row < 4; row++)
      lanes[row] = add(add(lanes[row], lanes[4 + row]), add(lanes[8 + row], lanes[12 + row]));
    add_to_totals(totals, add(add(lanes[0], lanes[2]), add(lanes[1], lanes[3])));
  }
}

INLINE void block_column_sums(const float *weights, const float *columns, size_t column_stride, size_t dimensions,
                              size_t count, const float *last, float *sums) {
  for (size_t d = 0; d < dimensions; d++) {
    const float *column = columns + d * column_stride;
    V lanes[4 * CKV_LANES];
    for (int lane = 0; lane < 4 * CKV_LANES; lane++) lanes[lane] = zero();
    size_t i = 0;
    for (; i < count; i++)
      lanes[i % 64] = fma3(load_all(weights + i * CKV_BLOCK), set1(column[i]), lanes[i % 64]);
    if (last) {
      lanes[i % 64] = fma3(load_all(weights + i * CKV_BLOCK), load_all(last + d * CKV_BLOCK), lanes[i % 64]);
      i++;
    }
    /* The lanes past the end take part in the last round, as zeros. */
    for (; i % 64; i++) lanes[i % 64] = add(lanes[i % 64], zero());
    for (int lane = 0; lane < CKV_LANES; lane++)
      lanes[lane] = add(add(lanes[lane], lanes[16 + lane]), add(lanes[32 + lane], lanes[48 + lane]));
    add_halves(lanes);
    store_all(sums + d * CKV_BLOCK, lanes[0]);
  }
}

INLINE void block_scatter(float *sums, const uint32_t *rows, const float *table, const uint32_t *indices,
                          size_t count) {
  for (size_t i = 0; i < count; i++) {
    float *target = sums + (size_t)rows[i] * CKV_BLOCK;
    store_all(target, add(load_all(target), load_all(table + block_row(indices, i) * CKV_BLOCK)));
  }
}

INLINE unsigned block_empty_rows(const float *sums, size_t parts, size_t part_stride, size_t count) {
  unsigned empty = 0;
  for (size_t i = 0; i < count; i++) {
    unsigned zeros = 0xFFFF;
    for (size_t p = 0; p < parts; p++) zeros &= zero_lanes(load_all(sums + p * part_stride + i * CKV_BLOCK));
    empty |= zeros;
  }
  return empty;
}

#define DEFINE_ROWS(name, level, own)                                                                                 \
  LEVEL BLOCK_DOTS(name, level) {                                                                                     \
    block_dots(matrix, stride, rows, count, vectors, vector_stride, queries, width, sums, own);                       \
  }                                                                                                                   \
  LEVEL BLOCK_SUMS(name, level) {                                                                                     \
    block_sums(matrix, stride, rows, weights, count, scales, queries, width, sums, sum_stride, own);                  \
  }
#define DEFINE(level)                                                                                                 \
  DEFINE_ROWS(f32, level, CKV_F32)                                                                                    \
  DEFINE_ROWS(f16, level, CKV_F16)                                                                                    \
  DEFINE_ROWS(bf16, level, CKV_BF16)                                                                                  \
  LEVEL static void ckv_block_scores_##level(const float *table, const uint32_t *indices, const float *columns,       \
                                             size_t column_stride, const float *coefficients, size_t dimensions,      \
                                             float scale, size_t count, float *scores, float *greatest) {             \
    block_scores(table, indices, columns, column_stride, coefficients, dimensions, scale, count, scores, greatest);   \
  }                                                                                                                   \
  LEVEL static void ckv_block_exp_sums_##level(float *values, size_t count, const float *shifts, double *totals) {    \
    block_exp_sums(values, count, shifts, totals);                                                                    \
  }                                                                                                                   \
  LEVEL static void ckv_block_totals_##level(const float *values, size_t count, double *totals) {                     \
    block_totals(values, count, totals);                                                                              \
  }                                                                                                                   \
  LEVEL static void ckv_block_column_sums_##level(const float *weights, const float *columns, size_t column_stride,   \
                                                  size_t dimensions, size_t count, const float *last, float *sums) {  \
    block_column_sums(weights, columns, column_stride, dimensions, count, last, sums);                                \
  }                                                                                                                   \
  LEVEL static void ckv_block_scatter_##level(float *sums, const uint32_t *rows, const float *table,                  \
                                              const uint32_t *indices, size_t count) {                                \
    block_scatter(sums, rows, table, indices, count);                                                                 \
  }                                                                                                                   \
  LEVEL static unsigned ckv_block_empty_rows_##level(const float *sums, size_t parts, size_t part_stride,             \
                                                     size_t count) {                                                  \
    return block_empty_rows(sums, parts, part_stride, count);                                                         \
  }                                                                                                                   \
  BLOCK_TABLE(level)
