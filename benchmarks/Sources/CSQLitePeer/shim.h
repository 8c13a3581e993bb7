/// The system's SQLite for the peers that are measured; the product has a module of its own.
#ifndef CKVDB_BENCHMARK_SQLITE_H
#define CKVDB_BENCHMARK_SQLITE_H

#include <sqlite3.h>

/// Binds bytes that stay valid until the statement is stepped and reset.
static inline int peer_sqlite3_bind_blob(sqlite3_stmt *statement, int column, const void *bytes, int count) {
  return sqlite3_bind_blob(statement, column, bytes, count, SQLITE_STATIC);
}

#endif
