//! From a file, with the line and column of whatever is wrong in it. Messages are those of the product's configuration.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{DefaultMessageFormatter, Error as YamlError, MessageFormatter as _, Spanned};
use shard_cache::config::{ConfigError, Origin, Place, Problem};

use super::{Scenario, check};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Reads a scenario.
///
/// # Errors
/// If the file cannot be read, or says something that makes no sense: what, where, and what would.
pub fn read_file(file: &Path) -> Result<Scenario, ConfigError> {
    let unreadable = |message: String| Problem {
        place: Place::Unreadable {
            file: file.to_owned(),
        },
        path: None,
        message,
        accepted: Vec::new(),
        suggestion: None,
    };
    let text =
        fs::read_to_string(file).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(unreadable(format!("larger than {FILE_BYTES_MAX} bytes")).into());
    }
    parse(file, &text)
}

/// Reads a scenario from its text.
pub(super) fn parse(file: &Path, text: &str) -> Result<Scenario, ConfigError> {
    let source = Source { file, text };
    let scenario: Scenario =
        serde_saphyr::from_str(text).map_err(|error| source.refused(&error))?;
    let wrong = check::all(&scenario);
    if wrong.is_empty() {
        return Ok(scenario);
    }
    let places: Places = serde_saphyr::from_str(text).unwrap_or_default();
    let problems = wrong.into_iter().map(|wrong| {
        let (line, column) = places.of(&wrong).unwrap_or((1, 1));
        Problem {
            path: Some(wrong.path()),
            ..source.problem(line, column, wrong.message)
        }
    });
    Err(ConfigError {
        problems: problems.collect(),
    })
}

struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn problem(&self, line: u64, column: u64, message: String) -> Problem {
        let index = usize::try_from(line).ok().and_then(|it| it.checked_sub(1));
        let text = index.and_then(|index| self.text.lines().nth(index));
        Problem {
            place: Place::Value {
                origin: Origin::File {
                    file: PathBuf::from(self.file),
                    line,
                    column,
                },
                line_text: text.map(|text| text.trim_end().to_owned()),
            },
            path: None,
            message,
            accepted: Vec::new(),
            suggestion: None,
        }
    }

    fn refused(&self, error: &YamlError) -> Problem {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |it| (it.line(), it.column()));
        let (message, accepted): (String, &[&str]) = match error {
            YamlError::SerdeUnknownField {
                field, expected, ..
            } => (format!("unknown key `{field}`"), expected),
            YamlError::SerdeUnknownVariant {
                variant, expected, ..
            } => (format!("unknown value `{variant}`"), expected),
            YamlError::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or_default();
                (format!("key `{key}` stands here a second time"), &[])
            }
            other => (plainly(&DefaultMessageFormatter.format_message(other)), &[]),
        };
        Problem {
            accepted: accepted.iter().map(|&it| it.to_owned()).collect(),
            ..self.problem(line, column, message)
        }
    }
}

/// What was expected, where the parser only names the type of a number.
fn plainly(message: &str) -> String {
    let form = match message.strip_prefix("invalid ") {
        Some("u8") => "a whole number from 0 to 255",
        Some("u16") => "a whole number from 0 to 65535",
        Some("u32") => "a whole number from 0 to 4294967295",
        Some("u64" | "usize") => "a whole number from 0 on",
        Some("i64") => "a whole number",
        Some("f64") => "a number",
        _ => return message.to_owned(),
    };
    format!("is not {form}")
}

type Section = BTreeMap<String, Spanned<IgnoredAny>>;

/// Where the values of a file stand that parsed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Places {
    topology: Option<Spanned<Section>>,
    network: Option<Spanned<Section>>,
    load: Option<Spanned<Section>>,
    faults: Vec<Spanned<Section>>,
    seconds: Option<Spanned<IgnoredAny>>,
    minutes: Option<Spanned<IgnoredAny>>,
}

impl Places {
    /// Where a value stands, or else its section.
    fn of(&self, wrong: &check::Wrong) -> Option<(u64, u64)> {
        let section = match (wrong.section, wrong.place) {
            ("topology", _) => self.topology.as_ref(),
            ("network", _) => self.network.as_ref(),
            ("load", _) => self.load.as_ref(),
            (_, Some(place)) => self.faults.get(place),
            (_, None) => {
                let time = self.seconds.as_ref().or(self.minutes.as_ref())?;
                return Some(place_of(time));
            }
        }?;
        let value = section.value.get(wrong.key);
        Some(value.map_or_else(|| place_of(section), place_of))
    }
}

fn place_of<T>(value: &Spanned<T>) -> (u64, u64) {
    (value.referenced.line(), value.referenced.column())
}
