//! The parameters of `/v1/keys`: `ttl`, `consistency`, `degrade` and `timeout`. Unknown ones are
//! refused, so that a misspelt one is not taken for a default.

use std::{str::FromStr as _, time::Duration};

use axum::extract::Query;
use http::Uri;
use serde::Deserialize;

use crate::{
    api::{Edge, Invalid, Refusal},
    clock::Monotonic,
    coordinator::{Consistency, Degrade, Detail, Terms},
};

const DURATION_EXPECTED: &str = "a duration such as 60s, 1h30m or 250ms, or whole seconds";

/// The parameters of a URL as they stand there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    ttl: Option<String>,
    consistency: Option<String>,
    degrade: Option<String>,
    timeout: Option<String>,
}

/// The parameters, understood.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Asked {
    /// Time to live; zero for none.
    pub(super) ttl: Option<Duration>,
    timeout: Option<Duration>,
    consistency: Consistency,
    degrade: bool,
}

impl Asked {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Invalid> {
        let Query(Parameters {
            ttl,
            consistency,
            degrade,
            timeout,
        }) = Query::try_from_uri(uri).map_err(|refused| Invalid::Parameters {
            reason: refused.body_text(),
        })?;
        Ok(Self {
            ttl: ttl.map(|ttl| duration("ttl", ttl)).transpose()?,
            timeout: timeout
                .map(|timeout| duration("timeout", timeout))
                .transpose()?,
            consistency: consistency.map_or(Ok(Consistency::Quorum), level)?,
            degrade: degrade.map_or(Ok(false), yes_or_no)?,
        })
    }

    pub(super) fn terms(&self, edge: &Edge, arrived: Monotonic) -> Result<Terms, Refusal> {
        Ok(Terms {
            consistency: self.consistency,
            degrade: if self.degrade {
                Degrade::Accept
            } else {
                edge.limits.degrade
            },
            arrived,
            deadline: edge.deadline(arrived, self.timeout)?,
            detail: Detail::Answer,
        })
    }
}

fn duration(name: &'static str, value: String) -> Result<Duration, Invalid> {
    let seconds = u64::from_str(&value).map(Duration::from_secs).ok();
    seconds
        .or_else(|| humantime::parse_duration(&value).ok())
        .ok_or(Invalid::Parameter {
            name,
            value,
            expected: DURATION_EXPECTED,
        })
}

fn level(value: String) -> Result<Consistency, Invalid> {
    match value.to_ascii_lowercase().as_str() {
        "one" => Ok(Consistency::One),
        "quorum" => Ok(Consistency::Quorum),
        "all" => Ok(Consistency::All),
        _ => Err(Invalid::Parameter {
            name: "consistency",
            value,
            expected: "one, quorum or all",
        }),
    }
}

fn yes_or_no(value: String) -> Result<bool, Invalid> {
    match value.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Invalid::Parameter {
            name: "degrade",
            value,
            expected: "true or false",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Asked, Invalid> {
        Asked::parse(&format!("/v1/keys/k?{query}").parse().expect("a URI"))
    }

    #[test]
    fn parameters_are_understood() {
        let all = asked("ttl=1m30s&consistency=ALL&degrade=true&timeout=250ms").expect("legal");
        let expected = Asked {
            ttl: Some(Duration::from_secs(90)),
            timeout: Some(Duration::from_millis(250)),
            consistency: Consistency::All,
            degrade: true,
        };
        assert_eq!(all, expected);
        assert_eq!(
            asked("ttl=60").expect("legal").ttl,
            Some(Duration::from_secs(60))
        );
        assert_eq!(asked("ttl=0").expect("legal").ttl, Some(Duration::ZERO));
        assert_eq!(asked("").expect("legal").consistency, Consistency::Quorum);
    }

    #[test]
    fn meaningless_parameters_are_refused_with_what_is_accepted() {
        for (query, field, accepted) in [
            ("ttl=-1", "ttl", "a duration"),
            ("ttl=soon", "ttl", "a duration"),
            ("consistency=most", "consistency", "one, quorum or all"),
            ("degrade=maybe", "degrade", "true or false"),
            ("ttll=60s", "parameters", "unknown field"),
        ] {
            let refused = asked(query).expect_err(query);
            assert_eq!(refused.field(), field);
            assert!(refused.to_string().contains(accepted), "{query}: {refused}");
        }
    }
}
