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

-- Values and salts, the only part that is ever erased. A table of this file and not a file of its own: SQLite
-- does not commit several files in WAL mode as one, and an entry without what opens it must not happen.
-- One row holds all of an entry's: a row for each would cost a permitted request more than its decision does.
CREATE TABLE private (
    entry INTEGER PRIMARY KEY,
    shape BLOB    NOT NULL, -- path, salt and length of each value, as private.rs writes them
    vals  BLOB    NOT NULL  -- the values one after the other
) STRICT;

-- The leaf hashes of each committed batch and the gateway's signature over them. Apart from the entries, so that a
-- tree of a million leaves is read as 40 MB and not as a gigabyte.
CREATE TABLE batch (
    first     INTEGER PRIMARY KEY,
    count     INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    key_id    INTEGER NOT NULL,
    signature BLOB    NOT NULL,
    leaves    BLOB    NOT NULL CHECK (length(leaves) = 32 * count)
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
