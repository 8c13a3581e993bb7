/// The system's SQLite, and the few calls that Swift cannot import: destructor
/// macros and variadic configuration.
#ifndef CKVDB_CSQLITE_SHIM_H
#define CKVDB_CSQLITE_SHIM_H

#include <sqlite3.h>

/// Binds bytes that stay valid until the statement is stepped and reset.
static inline int ckv_sqlite3_bind_blob_static(sqlite3_stmt *statement, int column, const void *bytes, int count) {
  return sqlite3_bind_blob(statement, column, bytes, count, SQLITE_STATIC);
}

/// Binds bytes, copied.
static inline int ckv_sqlite3_bind_blob_copy(sqlite3_stmt *statement, int column, const void *bytes, int count) {
  return sqlite3_bind_blob(statement, column, bytes, count, SQLITE_TRANSIENT);
}

/// Binds text, copied.
static inline int ckv_sqlite3_bind_text_copy(sqlite3_stmt *statement, int column, const char *text, int count) {
  return sqlite3_bind_text(statement, column, text, count, SQLITE_TRANSIENT);
}

/// Sets one of SQLite's on/off connection settings.
static inline int ckv_sqlite3_db_config(sqlite3 *database, int setting, int value) {
  return sqlite3_db_config(database, setting, value, (int *)0);
}

/// What one of SQLite's on/off connection settings is; -1 if the library does not know it.
static inline int ckv_sqlite3_db_config_value(sqlite3 *database, int setting) {
  int value = -1;
  return sqlite3_db_config(database, setting, -1, &value) == SQLITE_OK ? value : -1;
}

#endif
