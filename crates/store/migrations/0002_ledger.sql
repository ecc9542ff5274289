-- The ledger: entries in tree order, their leaf hashes, what opens their commitments, and the signatures.
CREATE TABLE entry (
    idx       INTEGER PRIMARY KEY,
    id        TEXT    NOT NULL,
    action    TEXT,
    type      TEXT    NOT NULL,
    actor     TEXT    NOT NULL,
    target    TEXT,
    at        INTEGER NOT NULL, -- microseconds since the Unix epoch, UTC
    execution INTEGER CHECK (execution IN (0, 1)), -- 1 opens one, 0 closes it
    bytes     BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX entry_id ON entry (id);
CREATE INDEX entry_action ON entry (action) WHERE action IS NOT NULL;
-- Every type but the two that come with each request, which are better found by reading backwards.
CREATE INDEX entry_type ON entry (type) WHERE type NOT IN ('execution.authorized', 'execution.result');

-- Apart from the entries, so that a tree of a million leaves is read as 40 MB and not as a gigabyte.
CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- Values and salts, the only part that is ever erased. A table of this file and not a file of its own: SQLite
-- does not commit several files in WAL mode as one, and an entry without what opens it must not happen.
CREATE TABLE private (
    entry INTEGER NOT NULL,
    path  TEXT    NOT NULL,
    salt  BLOB    NOT NULL CHECK (length(salt) = 32),
    value BLOB    NOT NULL,
    PRIMARY KEY (entry, path)
) STRICT, WITHOUT ROWID;

-- The gateway's signature over each committed batch of leaves.
CREATE TABLE batch (
    first     INTEGER PRIMARY KEY,
    count     INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    key_id    INTEGER NOT NULL,
    signature BLOB    NOT NULL
) STRICT;

-- One row: the tree's right edge, its root and the signed checkpoint over both.
CREATE TABLE head (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    size      INTEGER NOT NULL,
    frontier  BLOB    NOT NULL,
    root      BLOB    NOT NULL,
    note      TEXT    NOT NULL,
    open_from INTEGER NOT NULL -- no execution still open was authorized before this index
) STRICT;

-- Takes up room for a moment to find out whether a full disk has room again.
CREATE TABLE probe (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    room BLOB NOT NULL
) STRICT;
