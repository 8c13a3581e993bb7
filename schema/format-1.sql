-- The tables of users.sqlite, format version 1. format-1.md says what every column means. The statements are stored
-- letter by letter in the database; who opens one compares them.

PRAGMA application_id = 1129010788;
PRAGMA user_version = 1;

CREATE TABLE block(
  place INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  payload BLOB NOT NULL
);

CREATE TABLE user(
  number INTEGER PRIMARY KEY,
  user NOT NULL UNIQUE
);

CREATE TABLE tail(
  seq INTEGER PRIMARY KEY,
  user NOT NULL,
  position INTEGER NOT NULL,
  count INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  payload BLOB NOT NULL
);

CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  store BLOB NOT NULL,
  generation INTEGER NOT NULL,
  next_seq INTEGER NOT NULL,
  folded_seq INTEGER NOT NULL,
  erase_epoch INTEGER NOT NULL,
  erase_pending INTEGER NOT NULL,
  positions INTEGER NOT NULL,
  commits INTEGER NOT NULL
);

CREATE TABLE model(
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  chunks BLOB NOT NULL,
  layout BLOB NOT NULL
);

CREATE TABLE generation(
  id INTEGER PRIMARY KEY,
  model INTEGER NOT NULL,
  element INTEGER NOT NULL,
  columns INTEGER NOT NULL,
  format INTEGER NOT NULL
);
