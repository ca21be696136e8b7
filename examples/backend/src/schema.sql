-- Moments are nanoseconds of the boot-time clock. Ids and secrets have 16 bytes.

-- One row. `boot` identifies the boot of the machine that the moments belong to. `version` is raised
-- by each grant and each other change of a queue, and never falls. It jumps at a new boot.
CREATE TABLE IF NOT EXISTS store (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS sessions (
    id BLOB PRIMARY KEY,
    secret BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS sessions_by_end ON sessions (expires);

-- `arrival` is the order in a queue. `mode` is 0 (exclusive), -1 (shared), or the number of permits.
-- `token` is set when the claim is granted, `since` the moment of its arrival or its grant.
CREATE TABLE IF NOT EXISTS claims (
    arrival INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    session BLOB NOT NULL REFERENCES sessions ON DELETE CASCADE,
    name TEXT NOT NULL,
    mode INTEGER NOT NULL,
    token INTEGER,
    since INTEGER NOT NULL,
    client TEXT NOT NULL,
    value BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS claims_by_name ON claims (name, arrival);
CREATE INDEX IF NOT EXISTS claims_by_session ON claims (session);

-- Claims that an operator has evicted, until their session has been notified.
CREATE TABLE IF NOT EXISTS evictions (
    session BLOB NOT NULL REFERENCES sessions ON DELETE CASCADE,
    claim BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS evictions_by_session ON evictions (session);
