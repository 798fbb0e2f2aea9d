//! Environment variables and flags, turned into values for paths of the tree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    environment::PREFIX,
    error::{Origin, Place, Problem},
    otel,
    reference::{self, TWINS},
};

/// Prefix of the variables that name a path: `SHARD_CACHE__SERVER__GRPC__PORT`.
const NESTED_PREFIX: &str = "SHARD_CACHE__";

/// A flag that sets a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: String,
    /// The field's dotted path.
    pub path: String,
    /// The value as given; lists are separated by commas.
    pub text: String,
}

impl Flag {
    /// The flag of `serve` with this name; `None` when there is none.
    #[must_use]
    pub fn of_twin(name: &str, text: impl Into<String>) -> Option<Self> {
        let twin = TWINS.iter().find(|twin| twin.flag == name)?;
        Some(Self {
            name: name.to_owned(),
            path: twin.path.to_owned(),
            text: text.into(),
        })
    }
}

/// A value for a path, and who gave it.
#[derive(Debug)]
pub(super) struct Override {
    pub(super) origin: Origin,
    pub(super) path: String,
    pub(super) text: String,
}

/// The overrides of the environment, in rising order of precedence: our own variables win over those of OpenTelemetry,
/// and a short name over a nested one.
pub(super) fn of_environment(
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Override>, Vec<Problem>> {
    let mut overrides = Vec::new();
    let mut problems = Vec::new();
    match otel::of_environment(variables) {
        Ok(given) => overrides.extend(given),
        Err(found) => problems.extend(found),
    }
    for (name, text) in variables {
        let Some(nested) = name.strip_prefix(NESTED_PREFIX) else {
            continue;
        };
        let path = nested.replace("__", ".").to_lowercase();
        if reference::is_field(&path) {
            overrides.push(of_variable(name, path, text));
        } else {
            problems.push(unknown_variable(name, &path));
        }
    }
    for twin in TWINS {
        if let Some(text) = variables.get(twin.variable) {
            overrides.push(of_variable(twin.variable, twin.path.to_owned(), text));
        }
    }
    if problems.is_empty() {
        Ok(overrides)
    } else {
        Err(problems)
    }
}

/// The overrides of flags, in the order given.
pub(super) fn of_flags(flags: &[Flag]) -> Result<Vec<Override>, Vec<Problem>> {
    let mut overrides = Vec::new();
    let mut problems = Vec::new();
    for flag in flags {
        let origin = Origin::Flag {
            name: flag.name.clone(),
        };
        if reference::is_field(&flag.path) {
            overrides.push(Override {
                origin,
                path: flag.path.clone(),
                text: flag.text.clone(),
            });
        } else {
            let place = Place::Value {
                origin,
                line_text: None,
            };
            let mut problem = Problem::new(place, format!("there is no field `{}`", flag.path));
            problem.suggestion = reference::nearest_field(&flag.path).map(str::to_owned);
            problems.push(problem);
        }
    }
    if problems.is_empty() {
        Ok(overrides)
    } else {
        Err(problems)
    }
}

/// Puts an override's value into the tree. `defaults` tells what kind of value the field takes; text that is not of
/// that kind is put in as it is, so that the typed reader refuses it in its own words.
pub(super) fn apply(tree: &mut Value, defaults: &Value, given: &Override) {
    let pointer = format!("/{}", given.path.replace('.', "/"));
    if let (Some(place), Some(default)) = (tree.pointer_mut(&pointer), defaults.pointer(&pointer)) {
        *place = convert(&given.path, default, given.text.trim());
    }
}

fn of_variable(name: &str, path: String, text: &str) -> Override {
    Override {
        origin: Origin::Environment {
            name: name.to_owned(),
        },
        path,
        text: text.to_owned(),
    }
}

fn unknown_variable(name: &str, path: &str) -> Problem {
    let origin = Origin::Environment {
        name: name.to_owned(),
    };
    let mut problem = Problem::new(
        Place::Value {
            origin,
            line_text: None,
        },
        format!("there is no field `{path}`"),
    );
    problem.suggestion = reference::nearest_field(path)
        .map(|field| format!("{PREFIX}_{}", field.replace('.', "__").to_uppercase()));
    problem
}

fn convert(path: &str, default: &Value, text: &str) -> Value {
    match default {
        Value::Number(_) => number(text),
        Value::Bool(_) => text
            .parse::<bool>()
            .map_or_else(|_| Value::from(text), Value::from),
        Value::Array(_) => text
            .split(',')
            .map(str::trim)
            .filter(|element| !element.is_empty())
            .collect(),
        Value::Null if text.is_empty() => Value::Null,
        // Absent by default: the sample of the reference shows the kind.
        Value::Null => match reference::find(path).and_then(|entry| entry.sample) {
            Some(sample) if sample.parse::<u64>().is_ok() => number(text),
            Some(_) | None => Value::from(text),
        },
        Value::String(_) | Value::Object(_) => Value::from(text),
    }
}

fn number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        Value::from(whole)
    } else if let Ok(real) = text.parse::<f64>() {
        Value::from(real)
    } else {
        Value::from(text)
    }
}
