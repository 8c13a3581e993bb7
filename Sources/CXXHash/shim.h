/// The system's xxHash: row, page, chunk and model digests.
#include <xxhash.h>
