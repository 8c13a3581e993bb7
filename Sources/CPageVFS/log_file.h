/// A write-ahead log as this layer sees it: the file of the VFS below, lengthened ahead of what is written.
#ifndef CKVDB_LOG_FILE_H
#define CKVDB_LOG_FILE_H

#include <sqlite3.h>

struct log_file {
  sqlite3_file face;   // what SQLite holds; must stay first
  sqlite3_file *real;  // the same file in the VFS below, in the memory after this object
  sqlite3_int64 size;  // the file is at least this long, as far as is known
};

/// Sets up the methods of a file whose `real` was opened.
void ckv_log_file_attach(struct log_file *file);

#endif
