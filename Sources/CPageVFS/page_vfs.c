#include "CPageVFS.h"
int ckv_page_vfs_register(void) { return 0; }
