/// Zeroes what a b-tree page holds outside of its cells. SQLite leaves copies of deleted cells there: secure_delete
/// zeroes a cell where it is deleted, not where rebalancing had copied it. The page is only touched after every
/// cell and free block was found inside it and all of them tile the content area: until then it is untrusted bytes.

#include "CPageVFS.h"
#include "page_format.h"

enum {
  TYPE_INDEX_INTERIOR = 2,
  TYPE_TABLE_INTERIOR = 5,
  TYPE_INDEX_LEAF = 10,
  TYPE_TABLE_LEAF = 13,
  /// A free block is its successor's offset and its size, two bytes each; SQLite gives no cell less room either.
  BLOCK_SIZE_MIN = 4,
  /// The page header counts fragments in one byte.
  FRAGMENTS_MAX = 255,
};

/// A b-tree page whose header was read and bounded.
struct tree_page {
  uint8_t *bytes;
  uint32_t usable;         // bytes before the checksum
  uint32_t type;
  uint32_t first_free;     // offset of the first free block, or 0
  uint32_t cells;
  uint32_t pointers;       // offset of the cell pointers
  uint32_t pointers_end;   // the unallocated space starts here
  uint32_t content;        // and ends here, where cells and free blocks start
  uint32_t fragments;      // bytes among these that are neither
  uint32_t local_max;      // payload bytes up to which a cell spills nothing to overflow pages
  uint32_t local_min;
};

/// The gaps between cells too small for a free block: offsets of single bytes.
struct fragments {
  uint32_t count;
  uint16_t offset[FRAGMENTS_MAX];
};

static bool read_tree_page(struct tree_page *tree, uint8_t *bytes, uint32_t size, uint32_t number);
static bool tiles_exactly(const struct tree_page *tree, struct fragments *fragments);
static bool mark_cells(const struct tree_page *tree, uint64_t *starts);
static uint32_t cell_size(const struct tree_page *tree, uint32_t at);
static uint32_t read_varint(const struct tree_page *tree, uint32_t at, uint64_t *value);

void ckv_page_zero_gaps(void *page, size_t size, uint32_t number) {
  if (size > CKV_PAGE_SIZE_MAX || !ckv_is_page_size((int64_t)size)) return;
  uint8_t *bytes = page;
  struct tree_page tree;
  struct fragments fragments = {.count = 0};
  if (!read_tree_page(&tree, bytes, (uint32_t)size, number) || !tiles_exactly(&tree, &fragments)) return;

  memset(bytes + tree.pointers_end, 0, tree.content - tree.pointers_end);
  for (uint32_t block = tree.first_free; block != 0; block = ckv_load_big16(bytes + block)) {
    memset(bytes + block + BLOCK_SIZE_MIN, 0, ckv_load_big16(bytes + block + 2) - BLOCK_SIZE_MIN);
  }
  for (uint32_t i = 0; i < fragments.count; i++) bytes[fragments.offset[i]] = 0;
}

/// Reads the header; false if this is no b-tree page or one that cannot be.
static bool read_tree_page(struct tree_page *tree, uint8_t *bytes, uint32_t size, uint32_t number) {
  uint32_t header = number == 1 ? CKV_HEADER_SIZE : 0;
  uint32_t usable = size - CKV_PAGE_RESERVED;
  uint32_t type = bytes[header];
  bool is_interior = type == TYPE_INDEX_INTERIOR || type == TYPE_TABLE_INTERIOR;
  if (!is_interior && type != TYPE_INDEX_LEAF && type != TYPE_TABLE_LEAF) return false;

  uint32_t index_max = (usable - 12) * 64 / 255 - 23;
  uint32_t content = ckv_load_big16(bytes + header + 5);
  tree->bytes = bytes;
  tree->usable = usable;
  tree->type = type;
  tree->first_free = ckv_load_big16(bytes + header + 1);
  tree->cells = ckv_load_big16(bytes + header + 3);
  tree->pointers = header + (is_interior ? 12 : 8);
  tree->pointers_end = tree->pointers + 2 * tree->cells;
  tree->content = content == 0 ? CKV_PAGE_SIZE_MAX : content;
  tree->fragments = bytes[header + 7];
  tree->local_max = type == TYPE_TABLE_LEAF ? usable - 35 : index_max;
  tree->local_min = (usable - 12) * 32 / 255 - 23;
  return tree->pointers_end <= tree->content && tree->content <= usable;
}

/// Walks the content area from end to end: at every offset a cell starts, or a free block, or it is one of exactly as
/// many fragment bytes as the header says. False if anything overlaps, sticks out or is left over.
static bool tiles_exactly(const struct tree_page *tree, struct fragments *fragments) {
  uint64_t starts[CKV_PAGE_SIZE_MAX / 64];
  if (!mark_cells(tree, starts)) return false;

  uint32_t cells = 0;
  uint32_t next_free = tree->first_free;
  uint32_t at = tree->content;
  while (at < tree->usable) {
    bool is_cell = starts[at / 64] >> (at % 64) & 1;
    uint32_t size;
    if (at == next_free) {
      if (is_cell || tree->usable - at < BLOCK_SIZE_MIN) return false;
      size = ckv_load_big16(tree->bytes + at + 2);
      if (size < BLOCK_SIZE_MIN) return false;
      next_free = ckv_load_big16(tree->bytes + at);
    } else if (is_cell) {
      size = cell_size(tree, at);
      if (size == 0) return false;
      cells++;
    } else {
      if (fragments->count == tree->fragments) return false;
      fragments->offset[fragments->count++] = (uint16_t)at;
      size = 1;
    }
    if (size > tree->usable - at) return false;
    at += size;
  }
  return cells == tree->cells && next_free == 0 && fragments->count == tree->fragments;
}

/// Sets one bit per offset at which a cell starts; false if a pointer is out of the content area or comes twice.
static bool mark_cells(const struct tree_page *tree, uint64_t *starts) {
  memset(starts, 0, (tree->usable + CKV_PAGE_RESERVED) / 8);
  for (uint32_t i = 0; i < tree->cells; i++) {
    uint32_t at = ckv_load_big16(tree->bytes + tree->pointers + 2 * i);
    if (at < tree->content || at >= tree->usable) return false;
    uint64_t bit = (uint64_t)1 << (at % 64);
    if (starts[at / 64] & bit) return false;
    starts[at / 64] |= bit;
  }
  return true;
}

/// The bytes that the cell at an offset takes inside the page, or 0 if it sticks out.
static uint32_t cell_size(const struct tree_page *tree, uint32_t at) {
  bool is_interior = tree->type == TYPE_INDEX_INTERIOR || tree->type == TYPE_TABLE_INTERIOR;
  bool has_payload = tree->type != TYPE_TABLE_INTERIOR;
  bool has_rowid = tree->type == TYPE_TABLE_INTERIOR || tree->type == TYPE_TABLE_LEAF;
  uint32_t head = is_interior ? 4 : 0;
  uint64_t payload = 0;
  if (has_payload) {
    uint32_t length = read_varint(tree, at + head, &payload);
    if (length == 0 || payload > INT32_MAX) return 0;
    head += length;
  }
  if (has_rowid) {
    uint64_t rowid;
    uint32_t length = read_varint(tree, at + head, &rowid);
    if (length == 0) return 0;
    head += length;
  }
  uint32_t local = (uint32_t)payload;
  if (local > tree->local_max) {
    uint32_t fitting = tree->local_min + (local - tree->local_min) % (tree->usable - 4);
    local = (fitting <= tree->local_max ? fitting : tree->local_min) + 4;
  }
  uint32_t size = head + local < BLOCK_SIZE_MIN ? BLOCK_SIZE_MIN : head + local;
  return size <= tree->usable - at ? size : 0;
}

/// Reads one of SQLite's integers of 1 to 9 bytes; returns its length, or 0 if it does not end inside the page.
static uint32_t read_varint(const struct tree_page *tree, uint32_t at, uint64_t *value) {
  uint64_t result = 0;
  for (uint32_t length = 1; length <= 9; length++, at++) {
    if (at >= tree->usable) return 0;
    uint8_t byte = tree->bytes[at];
    if (length == 9) {
      *value = result << 8 | byte;
      return length;
    }
    result = result << 7 | (byte & 0x7F);
    if (byte < 0x80) {
      *value = result;
      return length;
    }
  }
  return 0;
}
