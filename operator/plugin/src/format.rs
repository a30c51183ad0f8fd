//! Text in columns, and times as a person says them.

use jiff::Timestamp;

/// Lines up cells in columns, two spaces apart; nothing trails.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|name| name.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head = line(&mut header.iter().copied());
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(body).map(|line| line + "\n").collect()
}

/// Puts two spaces before each line.
pub(crate) fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// `5s`, `3m`, `2h`, `4d`: how long ago, as kubectl says it.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.as_second().saturating_sub(then.as_second()).max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7_200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `in 12s`, or `now` when the time has passed.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> String {
    if then <= now { "now".to_owned() } else { format!("in {}", ago(now, then)) }
}

/// A value, or the dash that says there is none.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["school".to_owned(), "True".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "READY"], &rows), "NAME    READY\nschool  True\na\n");
    }

    #[test]
    fn ages_are_short() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-25T12:00:00Z");
        assert_eq!(ago(at("2026-11-25T11:58:30Z"), now), "90s");
        assert_eq!(ago(at("2026-11-25T11:00:00Z"), now), "60m");
        assert_eq!(ago(at("2026-11-24T12:00:00Z"), now), "24h");
        assert_eq!(ago(at("2026-11-20T12:00:00Z"), now), "5d");
        assert_eq!(ago(at("2026-11-25T12:00:05Z"), now), "0s");
        assert_eq!(until(at("2026-11-25T12:00:05Z"), now), "in 5s");
        assert_eq!(until(now, now), "now");
    }
}
