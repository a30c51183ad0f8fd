-- phase: expand
-- transaction: no
-- why: built beside running writes: erasing a student looks through all rosters, and a course's price in force is read on each view.

CREATE INDEX CONCURRENTLY course_roster_by_student ON teaching.course_roster (student_id);

CREATE INDEX CONCURRENTLY price_log_in_force ON teaching.price_log (teacher_id, course_id, valid_from DESC);
