//! The YAML file: parsed into the typed tree, with the place of every value in it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{DefaultMessageFormatter, Error as YamlError, MessageFormatter as _, Spanned};

use super::{
    error::{ConfigError, Origin, Place, Problem},
    model::Config,
};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file that parsed.
#[derive(Debug)]
pub(super) struct ConfigFile {
    file: PathBuf,
    text: String,
    /// Its values over the defaults.
    pub(super) config: Config,
    /// Line and column of every value that it sets, by path.
    places: BTreeMap<String, (u64, u64)>,
}

impl ConfigFile {
    /// Reads and parses a file.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |message: String| {
            Problem::new(
                Place::Unreadable {
                    file: file.to_owned(),
                },
                message,
            )
        };
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable(format!("larger than {FILE_BYTES_MAX} bytes")).into());
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8".to_owned()))?;
        Self::parse(file, text)
    }

    /// Parses the text of a file.
    pub(super) fn parse(file: &Path, text: String) -> Result<Self, ConfigError> {
        let mut parsed = Self {
            file: file.to_owned(),
            text,
            config: Config::default(),
            places: BTreeMap::new(),
        };
        if is_blank(&parsed.text) {
            return Ok(parsed);
        }
        // The places first: they also tell which field a refused value was meant for.
        let tree: Tree =
            serde_saphyr::from_str(&parsed.text).map_err(|error| parsed.problem(&error))?;
        tree.collect("", &mut parsed.places);
        parsed.config =
            serde_saphyr::from_str(&parsed.text).map_err(|error| parsed.problem(&error))?;
        Ok(parsed)
    }

    /// Where the file sets a path; `None` when it does not.
    pub(super) fn origin(&self, path: &str) -> Option<Origin> {
        let &(line, column) = self.places.get(path)?;
        Some(Origin::File {
            file: self.file.clone(),
            line,
            column,
        })
    }

    /// The place of an origin, with the text of its line.
    pub(super) fn place(&self, origin: Origin) -> Place {
        let line_text = match &origin {
            Origin::File { line, .. } => self.line(*line),
            Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } => None,
        };
        Place::Value { origin, line_text }
    }

    fn line(&self, line: u64) -> Option<String> {
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        self.text
            .lines()
            .nth(index)
            .map(|line| line.trim_end().to_owned())
    }

    fn problem(&self, error: &YamlError) -> Problem {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |location| (location.line(), location.column()));
        let place = self.place(Origin::File {
            file: self.file.clone(),
            line,
            column,
        });
        match error {
            YamlError::SerdeUnknownField {
                field, expected, ..
            } => Problem::new(place, format!("unknown key `{field}`")).accepting(field, expected),
            YamlError::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or_default();
                Problem::new(place, format!("key `{key}` stands here a second time"))
            }
            value_error => self.value_problem(value_error, line, column),
        }
    }

    /// A refused value. The parser points at its key or at itself; people look for the value.
    fn value_problem(&self, error: &YamlError, line: u64, column: u64) -> Problem {
        let field = self
            .places
            .iter()
            .filter(|(_, place)| place.0 == line && place.1 >= column)
            .min_by_key(|(_, place)| place.1);
        let column = field.map_or(column, |(_, place)| place.1);
        let place = self.place(Origin::File {
            file: self.file.clone(),
            line,
            column,
        });
        let mut problem = match error {
            YamlError::SerdeUnknownVariant {
                variant, expected, ..
            } => Problem::new(place, format!("unknown value `{variant}`"))
                .accepting(variant, expected),
            other => Problem::new(place, DefaultMessageFormatter.format_message(other)),
        };
        problem.path = field.map(|(path, _)| path.clone());
        problem
    }
}

/// Whether a document has no content: YAML calls that null, and people mean "the defaults".
fn is_blank(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
}

/// A document reduced to where its values stand.
enum Tree {
    Section(Vec<(String, Spanned<Tree>)>),
    Value,
}

impl Tree {
    fn collect(&self, path: &str, places: &mut BTreeMap<String, (u64, u64)>) {
        let Self::Section(children) = self else {
            return;
        };
        for (key, child) in children {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match &child.value {
                Self::Section(_) => child.value.collect(&path, places),
                Self::Value => {
                    places.insert(path, (child.referenced.line(), child.referenced.column()));
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut children = Vec::new();
        while let Some(entry) = map.next_entry::<String, Spanned<Tree>>()? {
            children.push(entry);
        }
        Ok(Tree::Section(children))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Tree::Value)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Value)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }
}
