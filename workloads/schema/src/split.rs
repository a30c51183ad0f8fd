//! Cuts an SQL file into statements, so that each is run, counted and reported by itself.

/// A statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text without the semicolon, from its first word on.
    pub sql: String,
    /// Line of the file it starts at, from 1.
    pub line: usize,
}

/// Longest [`Statement::head`], in characters.
const HEAD: usize = 80;

impl Statement {
    /// Its beginning on one line: what a report shows of it.
    pub fn head(&self) -> String {
        let line = self.words().join(" ");
        match line.char_indices().nth(HEAD) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }

    /// Its words, without comments.
    pub fn words(&self) -> Vec<&str> {
        let mut words = Vec::new();
        for piece in Pieces::new(&self.sql) {
            match piece {
                Piece::Comment(_) => {}
                Piece::Quoted(text) => words.push(text),
                Piece::Plain(text) => words.extend(text.split_whitespace()),
                Piece::End => {}
            }
        }
        words
    }

    /// The index it creates, if it creates one.
    pub fn index(&self) -> Option<Index> {
        let words = self.words();
        let mut rest = words
            .iter()
            .copied()
            .filter(|word| !is_one_of(word, &["UNIQUE", "CONCURRENTLY", "IF", "NOT", "EXISTS"]));
        let (create, index) = (rest.next()?, rest.next()?);
        if !(is_one_of(create, &["CREATE"]) && is_one_of(index, &["INDEX"])) {
            return None;
        }
        let name = rest.next()?.to_owned();
        let table = rest.find(|word| !is_one_of(word, &["ON", "ONLY"]))?;
        let table = table.split('(').next()?;
        let schema = table.split_once('.').map_or("public", |(schema, _)| schema).to_owned();
        Some(Index {
            schema,
            name,
            concurrently: words.iter().any(|word| is_one_of(word, &["CONCURRENTLY"])),
        })
    }
}

/// An index that a statement creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Schema of its table and so its own.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Built beside running writes.
    pub concurrently: bool,
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|candidate| word.eq_ignore_ascii_case(candidate))
}

/// The statements of a file. Semicolons in strings, quoted names, dollar quotes and comments
/// separate nothing.
pub fn split(file: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut start = None;
    let mut position = 0;
    let mut end = 0;
    for piece in Pieces::new(file) {
        let length = piece.text().len();
        match piece {
            Piece::End => {
                push(file, start.take(), end, &mut statements);
            }
            Piece::Comment(_) => {}
            Piece::Quoted(_) => {
                start.get_or_insert(position);
                end = position + length;
            }
            Piece::Plain(text) => {
                if !text.trim().is_empty() {
                    start.get_or_insert(position + text.len() - text.trim_start().len());
                    end = position + text.trim_end().len();
                }
            }
        }
        position += length;
    }
    push(file, start, end, &mut statements);
    statements
}

fn push(file: &str, start: Option<usize>, end: usize, statements: &mut Vec<Statement>) {
    let Some(start) = start else { return };
    let Some(sql) = file.get(start..end) else { return };
    let before = file.get(..start).unwrap_or_default();
    statements.push(Statement { sql: sql.to_owned(), line: before.matches('\n').count() + 1 });
}

/// A stretch of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Quoted(&'a str),
    Comment(&'a str),
    /// A semicolon.
    End,
}

impl<'a> Piece<'a> {
    fn text(&self) -> &'a str {
        match self {
            Self::Plain(text) | Self::Quoted(text) | Self::Comment(text) => text,
            Self::End => ";",
        }
    }
}

struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    fn new(sql: &'a str) -> Self {
        Self { rest: sql }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match special(self.rest, false) {
            Some(Special::End) => {
                self.take(1);
                Piece::End
            }
            Some(Special::Comment(length)) => Piece::Comment(self.take(length)),
            Some(Special::Quoted(length)) => Piece::Quoted(self.take(length)),
            None => {
                // Up to the next place where something else begins. Inside a word a dollar sign
                // begins nothing, and an E before a quote belongs to the quote.
                let mut in_word = false;
                let length = self
                    .rest
                    .char_indices()
                    .find(|(at, c)| {
                        let found = special(self.rest.get(*at..).unwrap_or_default(), in_word).is_some();
                        in_word = c.is_alphanumeric() || matches!(c, '_' | '$');
                        found
                    })
                    .map_or(self.rest.len(), |(at, _)| at);
                Piece::Plain(self.take(length))
            }
        })
    }
}

enum Special {
    End,
    Comment(usize),
    Quoted(usize),
}

/// What begins at the start of `rest`, with its length in bytes.
fn special(rest: &str, in_word: bool) -> Option<Special> {
    let mut chars = rest.chars();
    match (chars.next()?, chars.next()) {
        (';', _) => Some(Special::End),
        ('-', Some('-')) => Some(Special::Comment(rest.find('\n').unwrap_or(rest.len()))),
        ('/', Some('*')) => Some(Special::Comment(block_comment(rest))),
        ('\'', _) => Some(Special::Quoted(quoted(rest, 1, '\'', false))),
        ('"', _) => Some(Special::Quoted(quoted(rest, 1, '"', false))),
        ('e' | 'E', Some('\'')) if !in_word => Some(Special::Quoted(quoted(rest, 2, '\'', true))),
        ('$', _) if !in_word => dollar_quoted(rest).map(Special::Quoted),
        _ => None,
    }
}

/// Length of a quoted text that starts after `open` bytes. A doubled quote is part of it.
fn quoted(rest: &str, open: usize, quote: char, backslashes: bool) -> usize {
    let mut chars = rest.char_indices().skip(open).peekable();
    while let Some((at, c)) = chars.next() {
        if backslashes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    rest.len()
}

/// Length of a comment that may hold others.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match (c, next) {
            ('/', Some('*')) => {
                depth += 1;
                chars.next();
            }
            ('*', Some('/')) => {
                depth = depth.saturating_sub(1);
                chars.next();
                if depth == 0 {
                    return at + 2;
                }
            }
            _ => {}
        }
    }
    rest.len()
}

/// Length of `$tag$ … $tag$`; `None` if no tag begins here (a parameter such as `$1`).
fn dollar_quoted(rest: &str) -> Option<usize> {
    let inner = rest.get(1..)?;
    let tag_length = inner.find('$')?;
    let tag = inner.get(..tag_length)?;
    let mut chars = tag.chars();
    let starts_well = chars.next().is_none_or(|c| c.is_alphabetic() || c == '_');
    if !(starts_well && chars.all(|c| c.is_alphanumeric() || c == '_')) {
        return None;
    }
    let open = tag_length + 2;
    let mark = rest.get(..open)?;
    let body = rest.get(open..)?;
    Some(body.find(mark).map_or(rest.len(), |at| open + at + open))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn texts(file: &str) -> Vec<String> {
        split(file).into_iter().map(|statement| statement.sql).collect()
    }

    #[test]
    fn statements_end_at_semicolons_and_know_their_line() {
        let statements = split("-- head\n\nCREATE TABLE a (x int);\n\n  SELECT 1 ;\nSELECT 2");
        assert_eq!(
            statements.iter().map(|s| (s.line, s.sql.as_str())).collect::<Vec<_>>(),
            [(3, "CREATE TABLE a (x int)"), (5, "SELECT 1"), (6, "SELECT 2")]
        );
    }

    #[test]
    fn a_semicolon_inside_something_separates_nothing() {
        for one in [
            "SELECT ';'",
            "SELECT 'it''s; fine'",
            r"SELECT E'a\';b'",
            r#"SELECT 1 AS "a;b""#,
            "SELECT 1 -- one; two\n + 1",
            "SELECT /* a; /* b; */ c; */ 1",
            "DO $$ BEGIN; END $$",
            "DO $body$ SELECT '$$;'; $body$",
            "SELECT 'ünï;cödé'",
            "SELECT rate'; '",
        ] {
            assert_eq!(texts(&format!("{one}; SELECT 2;")), [one, "SELECT 2"], "{one}");
        }
    }

    #[test]
    fn a_parameter_is_no_dollar_quote() {
        assert_eq!(
            texts("SELECT $1; SELECT a$b, c$d$; SELECT 3"),
            ["SELECT $1", "SELECT a$b, c$d$", "SELECT 3"]
        );
    }

    #[test]
    fn comments_and_empty_statements_are_none() {
        assert_eq!(texts("-- nothing\n;;\n/* here */ ;"), Vec::<String>::new());
    }

    #[test]
    fn an_open_quote_takes_the_rest() {
        assert_eq!(texts("SELECT 'open; SELECT 2"), ["SELECT 'open; SELECT 2"]);
    }

    #[test]
    fn a_head_is_one_short_line_without_comments() {
        let statement = &split("CREATE TABLE a ( -- why\n    x int\n)")[0];
        assert_eq!(statement.head(), "CREATE TABLE a ( x int )");
        let long = &split(&format!("SELECT {}", "é, ".repeat(60)))[0];
        assert_eq!(long.head().chars().count(), HEAD + 1);
    }

    #[test]
    fn an_index_is_recognised_with_its_schema() {
        let index = |sql: &str| split(sql)[0].index();
        assert_eq!(
            index("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_b ON teaching.a(b)"),
            Some(Index { schema: "teaching".into(), name: "a_b".into(), concurrently: true })
        );
        assert_eq!(
            index("create index a_c on only studying.a (c) where c is not null"),
            Some(Index { schema: "studying".into(), name: "a_c".into(), concurrently: false })
        );
        assert_eq!(index("CREATE TABLE a (b int)"), None);
        assert_eq!(index("DROP INDEX a_b"), None);
    }
}
