/// The system's zlib: event streams that arrive compressed.
#include <zlib.h>
