/// Registers the page layer with SQLite, and opens files through it. Main database files and write-ahead logs get our
/// methods; every other file is opened by the VFS below into SQLite's own memory and never seen here again. Holds the
/// one lock of this module, for the list of registrations.

#include "CPageVFS.h"

#include <sqlite3.h>
#include <string.h>

#include "log_file.h"
#include "page_file.h"

/// One registration. Never freed: SQLite may open a file through it at any time.
struct page_vfs {
  sqlite3_vfs face;  // what SQLite holds; must stay first
  sqlite3_vfs *base;
};

static int register_locked(sqlite3_vfs *base, const char *name);

_Static_assert(sizeof(struct log_file) <= sizeof(struct page_file), "one size is asked for, for both");

static sqlite3_vfs *base_of(sqlite3_vfs *vfs) { return ((struct page_vfs *)vfs)->base; }

static int open_log(sqlite3_vfs *base, const char *path, struct log_file *file, int flags, int *flags_out) {
  memset(file, 0, sizeof *file);
  file->real = (sqlite3_file *)(file + 1);
  file->real->pMethods = NULL;
  int code = base->xOpen(base, path, file->real, flags, flags_out);
  if (code == SQLITE_OK) {
    ckv_log_file_attach(file);
  } else if (file->real->pMethods != NULL) {
    file->real->pMethods->xClose(file->real);
  }
  return code;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *face, int flags, int *flags_out) {
  sqlite3_vfs *base = base_of(vfs);
  if (flags & SQLITE_OPEN_WAL) return open_log(base, path, (struct log_file *)face, flags, flags_out);
  if (!(flags & SQLITE_OPEN_MAIN_DB)) return base->xOpen(base, path, face, flags, flags_out);

  struct page_file *file = (struct page_file *)face;
  memset(file, 0, sizeof *file);
  file->real = (sqlite3_file *)(file + 1);
  file->real->pMethods = NULL;
  file->path = path;
  file->vfs_name = vfs->zName;
  int code = base->xOpen(base, path, file->real, flags, flags_out);
  if (code == SQLITE_OK) {
    ckv_page_file_attach(file);
  } else if (file->real->pMethods != NULL) {
    file->real->pMethods->xClose(file->real);
  }
  return code;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_directory) {
  return base_of(vfs)->xDelete(base_of(vfs), path, sync_directory);
}
static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *result) {
  return base_of(vfs)->xAccess(base_of(vfs), path, flags, result);
}
static int vfs_full_pathname(sqlite3_vfs *vfs, const char *path, int size, char *result) {
  return base_of(vfs)->xFullPathname(base_of(vfs), path, size, result);
}
static void *vfs_dl_open(sqlite3_vfs *vfs, const char *path) { return base_of(vfs)->xDlOpen(base_of(vfs), path); }
static void vfs_dl_error(sqlite3_vfs *vfs, int size, char *message) {
  base_of(vfs)->xDlError(base_of(vfs), size, message);
}
static void (*vfs_dl_symbol(sqlite3_vfs *vfs, void *library, const char *symbol))(void) {
  return base_of(vfs)->xDlSym(base_of(vfs), library, symbol);
}
static void vfs_dl_close(sqlite3_vfs *vfs, void *library) { base_of(vfs)->xDlClose(base_of(vfs), library); }
static int vfs_randomness(sqlite3_vfs *vfs, int size, char *result) {
  return base_of(vfs)->xRandomness(base_of(vfs), size, result);
}
static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) { return base_of(vfs)->xSleep(base_of(vfs), microseconds); }
static int vfs_current_time(sqlite3_vfs *vfs, double *time) {
  return base_of(vfs)->xCurrentTime(base_of(vfs), time);
}
static int vfs_last_error(sqlite3_vfs *vfs, int size, char *message) {
  return base_of(vfs)->xGetLastError(base_of(vfs), size, message);
}
static int vfs_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *time) {
  return base_of(vfs)->xCurrentTimeInt64(base_of(vfs), time);
}
static int vfs_set_system_call(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr call) {
  return base_of(vfs)->xSetSystemCall(base_of(vfs), name, call);
}
static sqlite3_syscall_ptr vfs_system_call(sqlite3_vfs *vfs, const char *name) {
  return base_of(vfs)->xGetSystemCall(base_of(vfs), name);
}
static const char *vfs_next_system_call(sqlite3_vfs *vfs, const char *name) {
  return base_of(vfs)->xNextSystemCall(base_of(vfs), name);
}

int ckv_page_vfs_register(void) { return ckv_page_vfs_register_over(NULL, "ckvdb"); }

int ckv_page_vfs_register_over(const char *base_name, const char *name) {
  if (name == NULL) return SQLITE_MISUSE;
  int code = sqlite3_initialize();
  if (code != SQLITE_OK) return code;
  sqlite3_mutex *lock = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1);
  sqlite3_mutex_enter(lock);
  sqlite3_vfs *base = sqlite3_vfs_find(base_name);
  code = base == NULL ? SQLITE_NOTFOUND : register_locked(base, name);
  sqlite3_mutex_leave(lock);
  return code;
}

static int register_locked(sqlite3_vfs *base, const char *name) {
  sqlite3_vfs *existing = sqlite3_vfs_find(name);
  if (existing != NULL) {
    bool is_ours = existing->xOpen == vfs_open;
    // The second call finds our own layer where SQLite's default is asked for only if someone made it the default.
    return is_ours && (base_of(existing) == base || existing == base) ? SQLITE_OK : SQLITE_MISUSE;
  }
  size_t name_size = strlen(name) + 1;
  struct page_vfs *vfs = sqlite3_malloc64(sizeof *vfs + name_size);
  if (vfs == NULL) return SQLITE_NOMEM;
  memcpy(vfs + 1, name, name_size);
  vfs->base = base;
  vfs->face = (sqlite3_vfs){
    .iVersion = base->iVersion < 3 ? base->iVersion : 3,
    // Whichever object it is, the file of the VFS below comes after it.
    .szOsFile = (int)sizeof(struct page_file) + base->szOsFile,
    .mxPathname = base->mxPathname,
    .zName = (const char *)(vfs + 1),
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_pathname,
    .xDlOpen = base->xDlOpen ? vfs_dl_open : NULL,
    .xDlError = base->xDlError ? vfs_dl_error : NULL,
    .xDlSym = base->xDlSym ? vfs_dl_symbol : NULL,
    .xDlClose = base->xDlClose ? vfs_dl_close : NULL,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_current_time,
    .xGetLastError = base->xGetLastError ? vfs_last_error : NULL,
    .xCurrentTimeInt64 = base->iVersion >= 2 && base->xCurrentTimeInt64 ? vfs_current_time_int64 : NULL,
    .xSetSystemCall = base->iVersion >= 3 && base->xSetSystemCall ? vfs_set_system_call : NULL,
    .xGetSystemCall = base->iVersion >= 3 && base->xGetSystemCall ? vfs_system_call : NULL,
    .xNextSystemCall = base->iVersion >= 3 && base->xNextSystemCall ? vfs_next_system_call : NULL,
  };
  int code = sqlite3_vfs_register(&vfs->face, 0);
  if (code != SQLITE_OK) sqlite3_free(vfs);
  return code;
}
