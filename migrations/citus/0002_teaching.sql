-- phase: expand
-- transaction: yes
-- why: teaching accounts and what they offer, each account on one shard (group T, by teacher_id).

CREATE SCHEMA teaching;

-- Who teaches: an account that people join, never a person.
CREATE TABLE teaching.teaching_accounts (
    teacher_id   bigint      NOT NULL,
    slug         text        NOT NULL, -- as claimed in claims.slug_claims
    display_name text        NOT NULL,
    state        text        NOT NULL,
    version      bigint      NOT NULL, -- grows by one with each change; events carry it
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT teaching_accounts_pk PRIMARY KEY (teacher_id),
    CONSTRAINT teaching_accounts_state CHECK (state IN ('active', 'suspended', 'closed'))
);

CREATE TABLE teaching.account_members (
    teacher_id   bigint      NOT NULL,
    person_id    bigint      NOT NULL,
    role         text        NOT NULL,
    share_micros integer     NOT NULL, -- millionths of the account's revenue
    version      bigint      NOT NULL,
    joined_at    timestamptz NOT NULL,
    left_at      timestamptz,
    CONSTRAINT account_members_pk PRIMARY KEY (teacher_id, person_id),
    CONSTRAINT account_members_account FOREIGN KEY (teacher_id) REFERENCES teaching.teaching_accounts (teacher_id),
    CONSTRAINT account_members_role CHECK (role IN ('owner', 'instructor', 'assistant', 'finance')),
    CONSTRAINT account_members_share CHECK (share_micros BETWEEN 0 AND 1000000)
);

CREATE TABLE teaching.courses (
    teacher_id  bigint      NOT NULL,
    course_id   bigint      NOT NULL,
    slug        text        NOT NULL, -- as claimed in claims.slug_claims
    title       text        NOT NULL,
    language    text        NOT NULL, -- BCP 47
    state       text        NOT NULL,
    starts_on   date,                 -- null: at any time
    length_days integer,              -- null: without an end
    seat_limit  integer,              -- null: without a limit
    version     bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT courses_pk PRIMARY KEY (teacher_id, course_id),
    CONSTRAINT courses_account FOREIGN KEY (teacher_id) REFERENCES teaching.teaching_accounts (teacher_id),
    CONSTRAINT courses_state CHECK (state IN ('draft', 'published', 'retired')),
    CONSTRAINT courses_length CHECK (length_days > 0),
    CONSTRAINT courses_seats CHECK (seat_limit > 0)
);

CREATE TABLE teaching.lessons (
    teacher_id  bigint      NOT NULL,
    course_id   bigint      NOT NULL,
    lesson_id   bigint      NOT NULL,
    place       bigint      NOT NULL, -- order in the course, with gaps, so that a move changes one row
    title       text        NOT NULL,
    state       text        NOT NULL,
    duration_ms integer,              -- of the video; null until one is ready
    version     bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT lessons_pk PRIMARY KEY (teacher_id, course_id, lesson_id),
    CONSTRAINT lessons_course FOREIGN KEY (teacher_id, course_id) REFERENCES teaching.courses (teacher_id, course_id),
    CONSTRAINT lessons_state CHECK (state IN ('draft', 'processing', 'ready', 'retired')),
    CONSTRAINT lessons_duration CHECK (duration_ms >= 0)
);

CREATE INDEX lessons_in_order ON teaching.lessons (teacher_id, course_id, place);

-- Append-only, from a course's first price on: the price in force, the lowest of the last
-- 30 days and what a student was shown are all read from here.
CREATE TABLE teaching.price_log (
    teacher_id   bigint      NOT NULL,
    course_id    bigint      NOT NULL,
    price_id     bigint      NOT NULL,
    amount_minor bigint      NOT NULL, -- in the currency's minor unit
    currency     text        NOT NULL, -- ISO 4217
    kind         text        NOT NULL,
    valid_from   timestamptz NOT NULL,
    valid_until  timestamptz,          -- null: until the next entry
    recorded_at  timestamptz NOT NULL,
    recorded_by  bigint      NOT NULL, -- person_id of a member
    CONSTRAINT price_log_pk PRIMARY KEY (teacher_id, course_id, price_id),
    CONSTRAINT price_log_course FOREIGN KEY (teacher_id, course_id) REFERENCES teaching.courses (teacher_id, course_id),
    CONSTRAINT price_log_amount CHECK (amount_minor >= 0),
    CONSTRAINT price_log_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT price_log_kind CHECK (kind IN ('list', 'sale')),
    CONSTRAINT price_log_validity CHECK (valid_until > valid_from)
);

-- Who takes a course, as its teacher sees it: a projection of studying.enrollments. A row is
-- replaced only by one with a higher source_version, so events may come twice and out of order.
CREATE TABLE teaching.course_roster (
    teacher_id     bigint      NOT NULL,
    course_id      bigint      NOT NULL,
    student_id     bigint      NOT NULL,
    state          text        NOT NULL,
    enrolled_at    timestamptz NOT NULL,
    withdrawn_at   timestamptz,
    source_version bigint      NOT NULL, -- version of the enrollment this was made from
    projected_at   timestamptz NOT NULL,
    CONSTRAINT course_roster_pk PRIMARY KEY (teacher_id, course_id, student_id),
    CONSTRAINT course_roster_state CHECK (state IN ('active', 'withdrawn', 'completed'))
);
