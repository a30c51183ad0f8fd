-- phase: expand
-- transaction: yes
-- why: students and what they do, each student on one shard (group S, by student_id).

CREATE SCHEMA studying;

CREATE TABLE studying.students (
    student_id   bigint      NOT NULL,
    display_name text        NOT NULL,
    locale       text        NOT NULL, -- BCP 47
    state        text        NOT NULL,
    acquisition  jsonb       NOT NULL, -- UTM parameters, referrer and coupon at sign-up
    version      bigint      NOT NULL, -- grows by one with each change; events carry it
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT students_pk PRIMARY KEY (student_id),
    CONSTRAINT students_state CHECK (state IN ('active', 'suspended', 'erased'))
);

CREATE TABLE studying.enrollments (
    student_id   bigint      NOT NULL,
    course_id    bigint      NOT NULL,
    teacher_id   bigint      NOT NULL, -- where the course is: its row is on another shard
    order_id     bigint,               -- null: granted without an order
    state        text        NOT NULL,
    outcome      text,                 -- null: not decided
    version      bigint      NOT NULL,
    enrolled_at  timestamptz NOT NULL,
    withdrawn_at timestamptz,          -- null with state `withdrawn`: an import that does not know the day
    completed_at timestamptz,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT enrollments_pk PRIMARY KEY (student_id, course_id),
    CONSTRAINT enrollments_student FOREIGN KEY (student_id) REFERENCES studying.students (student_id),
    CONSTRAINT enrollments_state CHECK (state IN ('active', 'withdrawn', 'completed')),
    CONSTRAINT enrollments_outcome CHECK (outcome IN ('distinction', 'pass', 'fail')),
    CONSTRAINT enrollments_withdrawn CHECK (state = 'withdrawn' OR withdrawn_at IS NULL),
    CONSTRAINT enrollments_completed CHECK ((state = 'completed') = (completed_at IS NOT NULL))
);

-- What a student has seen of a lesson. Heartbeats are merged into `watched`, so the same
-- one may arrive twice; completion is decided from it and from nothing else.
CREATE TABLE studying.lesson_progress (
    student_id     bigint         NOT NULL,
    course_id      bigint         NOT NULL,
    lesson_id      bigint         NOT NULL,
    position_ms    integer        NOT NULL, -- where the player stands
    watched        int4multirange NOT NULL, -- milliseconds of the video, each range [from, to)
    score_permille smallint,                -- of the lesson's quiz; null: none taken
    version        bigint         NOT NULL,
    completed_at   timestamptz,
    created_at     timestamptz    NOT NULL,
    updated_at     timestamptz    NOT NULL,
    CONSTRAINT lesson_progress_pk PRIMARY KEY (student_id, course_id, lesson_id),
    CONSTRAINT lesson_progress_enrollment
        FOREIGN KEY (student_id, course_id) REFERENCES studying.enrollments (student_id, course_id),
    CONSTRAINT lesson_progress_position CHECK (position_ms >= 0),
    CONSTRAINT lesson_progress_score CHECK (score_permille BETWEEN 0 AND 1000)
);
