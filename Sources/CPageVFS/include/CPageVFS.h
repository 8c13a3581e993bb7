#ifndef CKVDB_CPAGEVFS_H
#define CKVDB_CPAGEVFS_H
int ckv_page_vfs_register(void);
#endif
