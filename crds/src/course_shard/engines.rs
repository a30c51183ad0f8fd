//! Which PostgreSQL and Citus fit together, and what is shipped.

/// A release line of Citus and the PostgreSQL majors it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CitusLine {
    /// As in `spec.postgres.citus`.
    pub name: &'static str,
    /// PostgreSQL majors.
    pub majors: &'static [i32],
}

/// Known lines, oldest first: an upgrade moves towards the end.
/// Source: the build matrix in each release's CHANGELOG of citusdata/citus.
pub const CITUS_LINES: &[CitusLine] =
    &[CitusLine { name: "13.2", majors: &[15, 16, 17] }, CitusLine { name: "14.0", majors: &[16, 17, 18] }];

/// PostgreSQL majors that can be asked for.
pub const MAJORS: &[i32] = &[15, 16, 17, 18];

/// The major of the image that the operator brings; any other needs `spec.postgres.image`.
pub const SHIPPED_MAJOR: i32 = 17;

/// The line of that name.
pub fn citus_line(name: &str) -> Option<&'static CitusLine> {
    CITUS_LINES.iter().find(|line| line.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_runs_on_known_majors_and_the_shipped_one() {
        for line in CITUS_LINES {
            assert!(line.majors.iter().all(|major| MAJORS.contains(major)), "{}", line.name);
            assert!(line.majors.contains(&SHIPPED_MAJOR), "{}", line.name);
        }
    }
}
