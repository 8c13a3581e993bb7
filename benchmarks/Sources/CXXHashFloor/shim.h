/// The system's xxhash, for the floor under row checksums.
#include <xxhash.h>
