-- phase: expand
-- transaction: yes
-- why: values that must be unique over all shards, each value on one shard (group L, by the claimed text).

CREATE SCHEMA claims;

-- Order of a claim: the claim row first, then the row it is for, at last the claim that is given
-- up. A claim without its owner's row is left over from a broken walk: it may be taken over once
-- it has expired and the owner's row is proven absent.
CREATE TABLE claims.slug_claims (
    claim      text        NOT NULL, -- `<kind>:<slug>`
    kind       text        NOT NULL,
    teacher_id bigint      NOT NULL,
    course_id  bigint,               -- null for an account
    state      text        NOT NULL,
    version    bigint      NOT NULL,
    claimed_at timestamptz NOT NULL,
    expires_at timestamptz,          -- of a held claim
    CONSTRAINT slug_claims_pk PRIMARY KEY (claim),
    CONSTRAINT slug_claims_kind CHECK (kind IN ('account', 'course') AND starts_with(claim, kind || ':')),
    CONSTRAINT slug_claims_course CHECK ((kind = 'course') = (course_id IS NOT NULL)),
    CONSTRAINT slug_claims_state CHECK (state IN ('held', 'confirmed')),
    CONSTRAINT slug_claims_expiry CHECK ((state = 'held') = (expires_at IS NOT NULL))
);

-- An address is never stored here, only its hash.
CREATE TABLE claims.email_claims (
    claim      text        NOT NULL, -- `<algorithm>:<hash in hexadecimal>` of the address in lower case
    person_id  bigint      NOT NULL,
    state      text        NOT NULL,
    version    bigint      NOT NULL,
    claimed_at timestamptz NOT NULL,
    expires_at timestamptz,          -- of a held claim
    CONSTRAINT email_claims_pk PRIMARY KEY (claim),
    CONSTRAINT email_claims_hashed CHECK (claim ~ '^[a-z0-9-]+:[0-9a-f]{64}$'),
    CONSTRAINT email_claims_state CHECK (state IN ('held', 'confirmed')),
    CONSTRAINT email_claims_expiry CHECK ((state = 'held') = (expires_at IS NOT NULL))
);

-- Outboxes as in group T (0003_teaching_outbox.sql).

CREATE TABLE claims.outbox_l_0 (
    claim          text        NOT NULL,
    event_id       uuid        NOT NULL,
    event_type     text        NOT NULL,
    event_version  smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    region         text        NOT NULL,
    epoch          bigint      NOT NULL,
    entity_id      bigint      NOT NULL,
    entity_version bigint      NOT NULL,
    subject        bytea,
    anonymous_id   uuid,
    session_id     uuid,
    request_id     uuid        NOT NULL,
    actor_class    text        NOT NULL,
    consent        text[]      NOT NULL,
    arms           jsonb       NOT NULL,
    payload        jsonb       NOT NULL,
    sent_at        timestamptz,
    CONSTRAINT outbox_l_0_pk PRIMARY KEY (claim, event_id),
    CONSTRAINT outbox_l_0_actor CHECK (actor_class IN ('visitor', 'student', 'teacher', 'staff', 'service'))
);

CREATE INDEX outbox_l_0_unsent ON claims.outbox_l_0 (occurred_at, event_id) WHERE sent_at IS NULL;

CREATE TABLE claims.outbox_l_1 (
    claim          text        NOT NULL,
    event_id       uuid        NOT NULL,
    event_type     text        NOT NULL,
    event_version  smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    region         text        NOT NULL,
    epoch          bigint      NOT NULL,
    entity_id      bigint      NOT NULL,
    entity_version bigint      NOT NULL,
    subject        bytea,
    anonymous_id   uuid,
    session_id     uuid,
    request_id     uuid        NOT NULL,
    actor_class    text        NOT NULL,
    consent        text[]      NOT NULL,
    arms           jsonb       NOT NULL,
    payload        jsonb       NOT NULL,
    sent_at        timestamptz,
    CONSTRAINT outbox_l_1_pk PRIMARY KEY (claim, event_id),
    CONSTRAINT outbox_l_1_actor CHECK (actor_class IN ('visitor', 'student', 'teacher', 'staff', 'service'))
);

CREATE INDEX outbox_l_1_unsent ON claims.outbox_l_1 (occurred_at, event_id) WHERE sent_at IS NULL;

CREATE TABLE claims.outbox_l_2 (
    claim          text        NOT NULL,
    event_id       uuid        NOT NULL,
    event_type     text        NOT NULL,
    event_version  smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    region         text        NOT NULL,
    epoch          bigint      NOT NULL,
    entity_id      bigint      NOT NULL,
    entity_version bigint      NOT NULL,
    subject        bytea,
    anonymous_id   uuid,
    session_id     uuid,
    request_id     uuid        NOT NULL,
    actor_class    text        NOT NULL,
    consent        text[]      NOT NULL,
    arms           jsonb       NOT NULL,
    payload        jsonb       NOT NULL,
    sent_at        timestamptz,
    CONSTRAINT outbox_l_2_pk PRIMARY KEY (claim, event_id),
    CONSTRAINT outbox_l_2_actor CHECK (actor_class IN ('visitor', 'student', 'teacher', 'staff', 'service'))
);

CREATE INDEX outbox_l_2_unsent ON claims.outbox_l_2 (occurred_at, event_id) WHERE sent_at IS NULL;
