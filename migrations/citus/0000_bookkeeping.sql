-- phase: expand
-- transaction: yes
-- why: the migrator notes here where the schema stands, so this comes before anything numbered above 0.

CREATE SCHEMA platform;

-- One row. A migrator may raise `version` only from the value it read (compare-and-swap).
CREATE TABLE platform.schema_version (
    singleton     boolean     NOT NULL DEFAULT true,
    version       integer     NOT NULL,
    dirty         boolean     NOT NULL DEFAULT false, -- version + 1 is half done: it runs outside a transaction
    step          integer     NOT NULL DEFAULT 0,     -- statements of version + 1 that are done
    detail        text,                               -- why the last attempt stopped; null when it did not
    reconnect_due boolean     NOT NULL DEFAULT false, -- poolers may still hold statements prepared before the change
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_version_pk PRIMARY KEY (singleton),
    CONSTRAINT schema_version_one_row CHECK (singleton)
);

-- What was applied, so that a file changed after the fact is noticed.
CREATE TABLE platform.schema_history (
    version    integer     NOT NULL,
    name       text        NOT NULL,
    checksum   text        NOT NULL, -- SHA-256 of the file, in hexadecimal
    took_ms    bigint      NOT NULL, -- of the attempt that succeeded
    applied_by text        NOT NULL, -- application_name of the migrator: names its pod
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_history_pk PRIMARY KEY (version)
);
