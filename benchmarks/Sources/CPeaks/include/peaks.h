/* What one core can do at best: small loops that do one kind of thing and nothing else. The caller times them; each
 * returns a number that depends on all of the work, so that none of it is left out. Vectors are those of a level; the
 * caller asks for none that the processor does not have. Buffers are aligned to 64 bytes and hold whole multiples of
 * PEAK_BYTES. */
#ifndef CKVDB_BENCHMARK_PEAKS_H
#define CKVDB_BENCHMARK_PEAKS_H

#include <stddef.h>
#include <stdint.h>

enum peak_level { PEAK_SERIAL, PEAK_AVX2, PEAK_AVX512 };

/* Bytes that one step of reading or writing takes. */
#define PEAK_BYTES 1024

/* Numbers in a vector of floats. */
size_t peak_lanes(enum peak_level level);

/* `steps` times 12 multiply-adds of a vector, each of its own chain. */
float peak_multiply_add(enum peak_level level, size_t steps);

/* Reads a buffer `rounds` times. `ahead`: so many bytes ahead are asked for; 0: nothing is. */
uint64_t peak_read(enum peak_level level, const void *_Nonnull bytes, size_t count, size_t rounds, size_t ahead);

/* Writes a buffer `rounds` times. */
uint64_t peak_write(enum peak_level level, void *_Nonnull bytes, size_t count, size_t rounds);

/* Reads a buffer of f16 numbers, or of bf16 ones, widens them and adds them up, a multiply-add for each,
 * `rounds` times. 0 where the level has no instruction for it. */
float peak_widen(enum peak_level level, _Bool is_bf16, const void *_Nonnull halves, size_t byte_count, size_t rounds);

/* Adds up table[places[i]], `rounds` times. */
uint64_t peak_look_up(const uint32_t *_Nonnull table, const uint32_t *_Nonnull places, size_t count, size_t rounds);

/* Adds 1 to table[places[i]], `rounds` times. Place after place is another one. */
uint64_t peak_update(uint32_t *_Nonnull table, const uint32_t *_Nonnull places, size_t count, size_t rounds);

#endif
