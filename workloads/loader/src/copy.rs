//! Rows in COPY's text format.

use std::fmt::{Display, Write};

use jiff::civil::Date;

/// Rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    text: String,
    count: i64,
    /// The next value is the first of its row.
    fresh: bool,
}

impl Rows {
    /// Starts a row.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.fresh = true;
        self
    }

    /// A number.
    pub(crate) fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        let number = number.into();
        self.put(number)
    }

    /// A text.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.separate();
        for c in text.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '\t' => self.text.push_str("\\t"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                other => self.text.push(other),
            }
        }
        self
    }

    /// A date.
    pub(crate) fn date(&mut self, date: Date) -> &mut Self {
        self.put(date)
    }

    /// The first moment of a day in UTC.
    pub(crate) fn midnight(&mut self, date: Date) -> &mut Self {
        self.put(format_args!("{date} 00:00:00+00"))
    }

    /// The first moment of a day in UTC, or null.
    pub(crate) fn maybe_midnight(&mut self, date: Option<Date>) -> &mut Self {
        match date {
            Some(date) => self.midnight(date),
            None => self.null(),
        }
    }

    /// Null.
    pub(crate) fn null(&mut self) -> &mut Self {
        self.put("\\N")
    }

    /// Ends the row.
    pub(crate) fn end(&mut self) {
        self.text.push('\n');
        self.count += 1;
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> i64 {
        self.count
    }

    /// What COPY reads.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn put(&mut self, value: impl Display) -> &mut Self {
        self.separate();
        // Writing into a String can't fail.
        let _ = write!(self.text, "{value}");
        self
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.fresh) {
            self.text.push('\t');
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn values_are_separated_and_escaped() {
        let mut rows = Rows::default();
        rows.row().number(1).text("a\tb\\c\nd").null().end();
        rows.row().text("").date(Date::constant(2013, 10, 1)).midnight(Date::constant(2013, 10, 1)).end();
        assert_eq!(
            std::str::from_utf8(rows.as_bytes()).unwrap(),
            "1\ta\\tb\\\\c\\nd\t\\N\n\t2013-10-01\t2013-10-01 00:00:00+00\n"
        );
        assert_eq!(rows.count(), 2);
    }
}
