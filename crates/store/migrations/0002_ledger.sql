-- The ledger. One row holds all that one commit group appended: a row for each entry, with its places in indexes, costs
-- a permitted request more than its decision does.
CREATE TABLE batch (
    first     INTEGER PRIMARY KEY, -- tree index of its first entry
    count     INTEGER NOT NULL,
    clock     INTEGER NOT NULL,    -- the largest time in any entry's id so far, milliseconds; never falls
    open_from INTEGER NOT NULL,    -- no execution open after this batch was authorized before this index
    epoch     INTEGER NOT NULL,
    key_id    INTEGER NOT NULL,
    signature BLOB    NOT NULL,    -- the gateway's, over the leaf hashes
    note      TEXT    NOT NULL,    -- the checkpoint over the tree with this batch, signed by the log
    facts     BLOB    NOT NULL,    -- what history asks for of each entry, and its length, as facts.rs writes them
    entries   BLOB    NOT NULL,    -- the leaves, one after the other
    private   BLOB    NOT NULL     -- values and salts, the only part that is ever erased, as private.rs writes them
) STRICT;

-- The leaf hashes of each 256 entries and the tree's right edge after them, so that a tree of a million leaves is read
-- as 32 MB and not as a gigabyte.
CREATE TABLE tile (
    number   INTEGER PRIMARY KEY,
    leaves   BLOB    NOT NULL CHECK (length(leaves) = 8192),
    frontier BLOB    NOT NULL
) STRICT;

-- Entries by their id or their action's, where the time in the id does not lead to the batch: see places.rs.
CREATE TABLE place (
    id BLOB    NOT NULL,
    at INTEGER NOT NULL, -- tree index
    PRIMARY KEY (id, at)
) STRICT, WITHOUT ROWID;

-- Entries by type: every type but the two that come with each request, which are better found by reading backwards.
CREATE TABLE kind (
    type TEXT    NOT NULL,
    at   INTEGER NOT NULL, -- tree index
    PRIMARY KEY (type, at)
) STRICT, WITHOUT ROWID;

-- Takes up room for a moment to find out whether a full disk has room again.
CREATE TABLE probe (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    room BLOB NOT NULL
) STRICT;
