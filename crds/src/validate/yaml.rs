//! YAML as kubectl reads it: the types of YAML 1.1, where `off` is a boolean and `010`
//! is eight. A reader of YAML 1.2 would let `jit: off` pass as a string, and the API
//! server would then refuse what was checked.
//!
//! Stricter in one thing: a key given twice is an error, where kubectl keeps the last.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag, options};
use serde_json::{Map, Number, Value};

/// Nesting that no manifest needs.
const DEPTH_MAX: usize = 100;
/// Values in a document, those repeated by aliases counted each time.
const VALUES_MAX: usize = 1_000_000;

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum YamlError {
    #[error("{0}")]
    Syntax(String),
    #[error("line {line}: the key {key} is given twice: keep one")]
    Twice { line: usize, key: String },
    #[error("line {line}: a key must be text, a number or a boolean")]
    Key { line: usize },
    #[error("line {line}: << must be followed by a mapping or a list of mappings")]
    Merge { line: usize },
    #[error("line {line}: the tag {tag} means nothing here: remove it")]
    Tag { line: usize, tag: String },
    #[error("line {line}: {text} is no number that JSON knows")]
    Number { line: usize, text: String },
    #[error("line {line}: nested deeper than {DEPTH_MAX} levels")]
    TooDeep { line: usize },
    #[error("more than {VALUES_MAX} values, those repeated by aliases counted each time")]
    TooLarge,
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error.to_string())
    }
}

/// The documents of a text, in order; an empty one is `null`.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let events = Parser::new_from_str_with_options(text, options! { emit_comments: false });
    let mut composer = Composer { events, anchors: HashMap::new(), values: 0 };
    let mut documents = Vec::new();
    loop {
        match composer.event()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(..), _) => {
                composer.anchors.clear();
                composer.values = 0;
                let first = composer.event()?;
                documents.push(composer.node(first, 0)?);
            }
            _ => {}
        }
    }
}

/// Makes values out of a parser's events.
struct Composer<I> {
    events: I,
    anchors: HashMap<usize, Value>,
    values: usize,
}

impl<'text, I: Iterator<Item = Result<(Event<'text>, Span), ScanError>>> Composer<I> {
    fn event(&mut self) -> Result<(Event<'text>, usize), YamlError> {
        let (event, span) =
            self.events.next().ok_or_else(|| YamlError::Syntax("the text ends early".into()))??;
        Ok((event, span.start.line()))
    }

    fn node(&mut self, (event, line): (Event<'text>, usize), depth: usize) -> Result<Value, YamlError> {
        if depth > DEPTH_MAX {
            return Err(YamlError::TooDeep { line });
        }
        self.count(1)?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().unwrap_or_default();
                self.count(size(&value))?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), line)?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            _ => return Err(YamlError::Syntax(format!("line {line}: a value was expected"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                item => items.push(self.node(item, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut fields = Map::new();
        let mut merged = Map::new();
        loop {
            let key = match self.event()? {
                (Event::MappingEnd, _) => break,
                key => key,
            };
            let line_of_key = key.1;
            let is_merge = matches!(&key.0, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = match self.node(key, depth + 1)? {
                Value::String(key) => key,
                Value::Bool(key) => key.to_string(),
                Value::Number(key) => key.to_string(),
                _ => return Err(YamlError::Key { line: line_of_key }),
            };
            let value = self.event()?;
            let value = self.node(value, depth + 1)?;
            if is_merge {
                merge(&mut merged, value, line_of_key)?;
            } else if fields.insert(key.clone(), value).is_some() {
                return Err(YamlError::Twice { line: line_of_key, key });
            }
        }
        // What stands in the mapping itself goes before what is merged into it.
        for (key, value) in merged {
            fields.entry(key).or_insert(value);
        }
        Ok(Value::Object(fields))
    }

    fn count(&mut self, values: usize) -> Result<(), YamlError> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX { Err(YamlError::TooLarge) } else { Ok(()) }
    }
}

/// Earlier mappings of a list go before later ones.
fn merge(into: &mut Map<String, Value>, value: Value, line: usize) -> Result<(), YamlError> {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                into.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(items) => items.into_iter().try_for_each(|item| match item {
            Value::Object(_) => merge(into, item, line),
            _ => Err(YamlError::Merge { line }),
        }),
        _ => Err(YamlError::Merge { line }),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, YamlError> {
    let as_text = || Value::String(text.to_owned());
    match tag {
        None if style == ScalarStyle::Plain => plain(text, line),
        None => Ok(as_text()),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(as_text()),
        Some(tag)
            if ["bool", "int", "float", "null"].iter().any(|name| tag.is_yaml_core_schema_tag(name)) =>
        {
            plain(text, line)
        }
        Some(tag) => Err(YamlError::Tag { line, tag: tag.original() }),
    }
}

/// What an unquoted scalar is, after `resolve` of go-yaml 2, which kubectl uses.
fn plain(text: &str, line: usize) -> Result<Value, YamlError> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf"
        | "-.Inf" | "-.INF" => return Err(YamlError::Number { line, text: text.to_owned() }),
        _ => match number(text) {
            Some(number) => Value::Number(number),
            None => Value::String(text.to_owned()),
        },
    };
    Ok(value)
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    let digits = text.replace('_', "");
    integer(&digits).or_else(|| float(&digits))
}

/// Go's `ParseInt` with base 0: `0x`, `0o`, `0b`, and eight for a leading zero.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_str() {
        "0" => (10, "0"),
        lower => [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)]
            .iter()
            .find_map(|(prefix, base)| Some((*base, lower.strip_prefix(prefix)?)))
            .unwrap_or((10, lower)),
    };
    // A second sign would pass for a digit's.
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    if negative {
        let value = 0_i64.checked_sub_unsigned(magnitude)?;
        return Some(value.into());
    }
    Some(magnitude.into())
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`, which is less than Rust takes for one.
fn float(text: &str) -> Option<Number> {
    let allowed = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let value: f64 = text.parse().ok().filter(|_| allowed)?;
    // To JSON there is one kind of number: 2.0 is the integer 2.
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Some((value as i64).into());
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        let mut documents = documents(text).unwrap();
        assert_eq!(documents.len(), 1, "{documents:?}");
        documents.remove(0)
    }

    fn error(text: &str) -> String {
        documents(text).unwrap_err().to_string()
    }

    #[test]
    fn unquoted_words_and_numbers_are_what_kubectl_takes_them_for() {
        for (text, value) in [
            ("off", json!(false)),
            ("On", json!(true)),
            ("y", json!(true)),
            ("oN", json!("oN")),
            ("010", json!(8)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0", json!(0)),
            ("--7", json!("--7")),
            ("2.0", json!(2)),
            ("1e3", json!(1000)),
            ("0.5", json!(0.5)),
            (".5", json!(0.5)),
            ("1.2.3", json!("1.2.3")),
            ("12:30", json!("12:30")),
            ("2026-11-25", json!("2026-11-25")),
            ("1Gi", json!("1Gi")),
            ("inf", json!("inf")),
            ("~", json!(null)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ] {
            assert_eq!(one(text), value, "{text}");
        }
    }

    #[test]
    fn quoted_scalars_and_blocks_are_text() {
        assert_eq!(one("'off'"), json!("off"));
        assert_eq!(one("\"010\""), json!("010"));
        assert_eq!(one("a: |\n  off\n"), json!({"a": "off\n"}));
        assert_eq!(one("!!str off"), json!("off"));
    }

    #[test]
    fn documents_are_told_apart_and_anchors_end_with_them() {
        assert_eq!(documents("a: 1\n---\nb: 2\n").unwrap(), [json!({"a": 1}), json!({"b": 2})]);
        assert_eq!(documents("# nothing\n").unwrap(), Vec::<Value>::new());
        assert!(error("a: &x 1\n---\nb: *x\n").contains("anchor"), "{}", error("a: &x 1\n---\nb: *x\n"));
    }

    #[test]
    fn aliases_and_merges_are_resolved() {
        assert_eq!(one("a: &x {p: 1}\nb: *x\n"), json!({"a": {"p": 1}, "b": {"p": 1}}));
        assert_eq!(one("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n")["b"], json!({"p": 1, "q": 3}));
        assert_eq!(one("a: [&x {p: 1}, &y {p: 2, q: 2}]\nb: {<<: [*x, *y]}\n")["b"], json!({"p": 1, "q": 2}));
    }

    #[test]
    fn what_can_not_be_meant_is_an_error_with_its_line() {
        assert_eq!(error("a: 1\nb: 2\na: 3\n"), "line 3: the key a is given twice: keep one");
        assert_eq!(error("[a]: 1\n"), "line 1: a key must be text, a number or a boolean");
        assert_eq!(error("a: {<<: 1}\n"), "line 1: << must be followed by a mapping or a list of mappings");
        assert_eq!(error("a: !secret x\n"), "line 1: the tag !secret means nothing here: remove it");
        assert!(error("a: .inf\n").contains("no number that JSON knows"));
        assert!(error(&format!("{}1{}", "[".repeat(150), "]".repeat(150))).contains("nested deeper"));
    }

    #[test]
    fn aliases_of_aliases_can_not_blow_up() {
        let mut text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(",");
            text += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(matches!(documents(&text), Err(YamlError::TooLarge)));
    }
}
