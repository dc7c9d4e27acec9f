//! Reads tables member by member, so that one fault does not hide the next.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Fault, Lookup};

/// The faults found so far, and what is needed to find and place them.
pub(super) struct Faults<'a> {
    text: &'a str,
    environment: &'a Lookup<'a>,
    found: Vec<Fault>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(text: &'a str, environment: &'a Lookup<'a>) -> Self {
        Self {
            text,
            environment,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        let line = self.line(span.start);
        self.found.push(Fault {
            line,
            message: message.into(),
        });
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_sorted(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|fault| fault.line);
        self.found
    }

    /// Replaces each `${VAR}` by its value; a variable that is not set is a fault.
    pub(super) fn expand(&mut self, text: &Spanned<String>) -> Option<String> {
        let mut expanded = Some(String::new());
        let mut rest = text.as_ref().as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                self.add(text.span(), "\"${\" without its \"}\"");
                return None;
            };
            let value = (self.environment)(name);
            if value.is_none() {
                self.add(text.span(), format!("the variable {name} is not set"));
            }
            expanded = expanded
                .zip(value)
                .map(|(done, value)| done + before + &value);
            rest = after;
        }
        expanded.map(|done| done + rest)
    }
}

/// One thing in an array.
pub(super) enum Item<'a> {
    Text(Spanned<String>),
    Table(Members<'a>),
}

/// A table whose members are taken out one after the other; what is left at the end is unknown.
pub(super) struct Members<'a> {
    name: String,
    span: Range<usize>,
    table: DeTable<'a>,
}

impl<'a> Members<'a> {
    pub(super) fn of_document(table: DeTable<'a>) -> Self {
        Self {
            name: String::new(),
            span: 0..0,
            table,
        }
    }

    fn of_value(name: String, value: Spanned<DeValue<'a>>, faults: &mut Faults<'_>) -> Self {
        let span = value.span();
        let table = match value.into_inner() {
            DeValue::Table(table) => table,
            other => {
                let message = format!("{name} must be a table, not {}", other.type_str());
                faults.add(span.clone(), message);
                DeTable::new()
            }
        };
        Self { name, span, table }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// Whether the document names this table at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The member `key`, if it is there and of the right type.
    pub(super) fn take<T: Deserialize<'a>>(
        &mut self,
        key: &str,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let value = self.table.remove(key)?;
        let span = value.span();
        T::deserialize(value.into_deserializer())
            .map_err(|error| {
                let message = format!("{}: {}", self.path(key), error.message().trim_end());
                faults.add(error.span().unwrap_or(span), message);
            })
            .ok()
    }

    /// Makes a fault of the member `key`, if it is there.
    pub(super) fn refuse(&mut self, key: &str, reason: &str, faults: &mut Faults<'_>) {
        if let Some(value) = self.table.remove(key) {
            faults.add(value.span(), format!("{}: {reason}", self.path(key)));
        }
    }

    /// The number `key`; one outside of `allowed` is a fault.
    pub(super) fn take_number<N>(
        &mut self,
        key: &str,
        allowed: RangeInclusive<N>,
        faults: &mut Faults<'_>,
    ) -> Option<N>
    where
        N: PartialOrd + Display + Deserialize<'a>,
    {
        let value: Spanned<N> = self.take(key, faults)?;
        if !allowed.contains(value.as_ref()) {
            let (least, most) = (allowed.start(), allowed.end());
            let message = format!("{key} is {}, outside of {least} to {most}", value.as_ref());
            faults.add(value.span(), message);
        }
        Some(value.into_inner())
    }

    /// As [`Members::take`], but absence is a fault too.
    pub(super) fn require<T: Deserialize<'a>>(
        &mut self,
        key: &str,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            faults.add(self.span(), format!("{} is missing", self.path(key)));
        }
        self.take(key, faults)
    }

    /// The table `key`; an absent one is empty.
    pub(super) fn take_table(&mut self, key: &str, faults: &mut Faults<'_>) -> Self {
        let name = self.path(key);
        match self.table.remove(key) {
            Some(value) => Self::of_value(name, value, faults),
            None => Self {
                name,
                span: self.span(),
                table: DeTable::new(),
            },
        }
    }

    /// The tables of the array `key`.
    pub(super) fn take_tables(&mut self, key: &str, faults: &mut Faults<'_>) -> Vec<Self> {
        let Some(value) = self.table.remove(key) else {
            return Vec::new();
        };
        let name = self.path(key);
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(array) => array
                .into_iter()
                .map(|value| Self::of_value(name.clone(), value, faults))
                .collect(),
            other => {
                let message = format!("[[{name}]] must be tables, not {}", other.type_str());
                faults.add(span, message);
                Vec::new()
            }
        }
    }

    /// The texts and tables of the array `key`.
    pub(super) fn take_items(&mut self, key: &str, faults: &mut Faults<'_>) -> Vec<Item<'a>> {
        let Some(value) = self.table.remove(key) else {
            return Vec::new();
        };
        let name = self.path(key);
        let span = value.span();
        let DeValue::Array(array) = value.into_inner() else {
            faults.add(span, format!("{name} must be an array"));
            return Vec::new();
        };
        let mut items = Vec::new();
        for value in array {
            let span = value.span();
            match value.into_inner() {
                DeValue::String(text) => {
                    items.push(Item::Text(Spanned::new(span, text.into_owned())));
                }
                DeValue::Table(table) => items.push(Item::Table(Self {
                    name: name.clone(),
                    span,
                    table,
                })),
                other => {
                    let found = other.type_str();
                    let message = format!("{name} must hold strings or tables, not {found}");
                    faults.add(span, message);
                }
            }
        }
        items
    }

    /// Every member as a table, with its name.
    pub(super) fn into_tables(self, faults: &mut Faults<'_>) -> Vec<(Spanned<String>, Self)> {
        let prefix = self.name;
        self.table
            .into_iter()
            .map(|(key, value)| {
                let name = Spanned::new(key.span(), key.into_inner().into_owned());
                let path = format!("{prefix}.{}", name.as_ref());
                let table = Self::of_value(path, value, faults);
                (name, table)
            })
            .collect()
    }

    /// Every member as text, with its name's place.
    pub(super) fn into_texts(
        self,
        faults: &mut Faults<'_>,
    ) -> Vec<(Spanned<String>, Spanned<String>)> {
        let mut texts = Vec::new();
        for (key, value) in self.table {
            let path = format!("{}.{}", self.name, key.as_ref());
            let span = value.span();
            let name = Spanned::new(key.span(), key.into_inner().into_owned());
            match value.into_inner() {
                DeValue::String(text) => {
                    texts.push((name, Spanned::new(span, text.into_owned())));
                }
                other => {
                    let message = format!("{path} must be a string, not {}", other.type_str());
                    faults.add(span, message);
                }
            }
        }
        texts
    }

    /// Makes a fault of each member nobody took.
    pub(super) fn refuse_rest(&self, faults: &mut Faults<'_>) {
        for key in self.table.keys() {
            faults.add(
                key.span(),
                format!("unknown member {}", self.path(key.as_ref())),
            );
        }
    }
}
