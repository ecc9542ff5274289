-- Records: opaque documents under a kind and an id, guarded by version, found by keys.
CREATE TABLE record (
    kind    TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    doc     BLOB    NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE record_key (
    kind  TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    sole  INTEGER NOT NULL CHECK (sole IN (0, 1)),
    PRIMARY KEY (kind, name, value, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX record_key_of ON record_key (kind, id);

-- The writer refuses a shared unique key before it writes; this is the second lock on the same door.
CREATE UNIQUE INDEX record_key_sole ON record_key (kind, name, value) WHERE sole = 1;
