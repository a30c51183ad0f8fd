-- phase: expand
-- transaction: yes
-- why: a row the operator beats to know that writes commit, and the ledger of bulk loads.

-- A beat must reach every worker that can fail by itself, so the canary has a co-location
-- group of its own: moving or splitting it moves nobody's data.
CREATE TABLE platform.canary (
    canary_id bigint      NOT NULL,
    beat      bigint      NOT NULL, -- grows by one with each write
    beaten_at timestamptz NOT NULL,
    CONSTRAINT canary_pk PRIMARY KEY (canary_id)
);

-- Written in the transaction that copies the batch's rows: a batch is there once or not at all.
CREATE TABLE platform.load_batches (
    load      text        NOT NULL, -- what is loaded, such as `oulad`
    replica   integer     NOT NULL, -- 0 is the original
    chunk     integer     NOT NULL, -- 0 is the replica's accounts and courses, 1 and up its students
    seed      bigint      NOT NULL, -- what the replica was drawn from; 0 for the original
    row_count bigint      NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT load_batches_pk PRIMARY KEY (load, replica, chunk)
);
