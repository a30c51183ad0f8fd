-- phase: expand
-- transaction: yes
-- why: events of group S leave through tables that commit together with what they tell of.

-- Three tables take turns by the hour of the write (hours since 1970 modulo 3), and a relay reads
-- all three. A table whose hour is over and whose rows are all sent is truncated before its next
-- turn: rows are never deleted one by one, so there is nothing to vacuum.
--
-- Columns are the event envelope:
--   event_id        UUIDv7 made by the writer; consumers drop what they have seen by it
--   event_type      such as `enrollment.granted`, with event_version the shape of `payload`
--   region, epoch   where it was acknowledged and under which fencing epoch
--   entity_id, entity_version   what changed and its version after the change: the order of
--                   events about one entity, which neither the clock nor the relay can promise
--   subject         HMAC of the person the event is about, under that person's own key; null: nobody
--   anonymous_id    visitor before sign-in; session_id and request_id are random
--   actor_class     who acted; consent: purposes the person had agreed to
--   arms            experiment to arm, as exposed
--   sent_at         when the relay had the acknowledgement

CREATE TABLE studying.outbox_s_0 (
    student_id     bigint      NOT NULL,
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
    CONSTRAINT outbox_s_0_pk PRIMARY KEY (student_id, event_id),
    CONSTRAINT outbox_s_0_actor CHECK (actor_class IN ('visitor', 'student', 'teacher', 'staff', 'service'))
);

CREATE INDEX outbox_s_0_unsent ON studying.outbox_s_0 (occurred_at, event_id) WHERE sent_at IS NULL;

CREATE TABLE studying.outbox_s_1 (
    student_id     bigint      NOT NULL,
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
    CONSTRAINT outbox_s_1_pk PRIMARY KEY (student_id, event_id),
    CONSTRAINT outbox_s_1_actor CHECK (actor_class IN ('visitor', 'student', 'teacher', 'staff', 'service'))
);

CREATE INDEX outbox_s_1_unsent ON studying.outbox_s_1 (occurred_at, event_id) WHERE sent_at IS NULL;

CREATE TABLE studying.outbox_s_2 (
    student_id     bigint      NOT NULL,
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
    CONSTRAINT outbox_s_2_pk PRIMARY KEY (student_id, event_id),
    CONSTRAINT outbox_s_2_actor CHECK (actor_class IN ('visitor', 'student', 'teacher', 'staff', 'service'))
);

CREATE INDEX outbox_s_2_unsent ON studying.outbox_s_2 (occurred_at, event_id) WHERE sent_at IS NULL;
