//! The environment variables of OpenTelemetry, as values for fields of `telemetry.traces`. They win over the file; the
//! product's own variables and flags, which are more specific, win over them.
//!
//! Names and meanings: OpenTelemetry specification, "Environment variable specification". As there, an empty variable is
//! an absent one. Headers, compression and the rest of `OTEL_EXPORTER_OTLP_*` are read by the OTLP library.

use std::collections::BTreeMap;

use super::{
    error::{Origin, Place, Problem},
    overrides::Override,
};

/// Prefix of the variables.
pub(super) const PREFIX: &str = "OTEL_";

/// How a variable's text becomes a field's.
#[derive(Clone, Copy)]
enum Form {
    /// As it is.
    Text,
    /// Whole milliseconds.
    Millis,
    /// One word turns traces off; the other is how it is anyway, so that two switches cannot contradict each other.
    Switch {
        off: &'static str,
        on: &'static str,
        expected: &'static str,
    },
}

/// In rising order of precedence where several set one field.
const VARIABLES: &[(&str, &str, Form)] = &[
    ("OTEL_TRACES_EXPORTER", "enabled", EXPORTER_NAME),
    ("OTEL_SDK_DISABLED", "enabled", DISABLED),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "endpoint", Form::Text),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "endpoint", Form::Text),
    ("OTEL_TRACES_SAMPLER", "sampler", Form::Text),
    ("OTEL_TRACES_SAMPLER_ARG", "ratio", Form::Text),
    ("OTEL_SERVICE_NAME", "service_name", Form::Text),
    (
        "OTEL_RESOURCE_ATTRIBUTES",
        "resource_attributes",
        Form::Text,
    ),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "queue_spans_max", Form::Text),
    (
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "batch_spans_max",
        Form::Text,
    ),
    ("OTEL_BSP_SCHEDULE_DELAY", "flush_interval", Form::Millis),
    ("OTEL_BSP_EXPORT_TIMEOUT", "export_timeout", Form::Millis),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "export_timeout", Form::Millis),
    (
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "export_timeout",
        Form::Millis,
    ),
];

const EXPORTER_NAME: Form = Form::Switch {
    off: "none",
    on: "otlp",
    expected: "otlp or none",
};
const DISABLED: Form = Form::Switch {
    off: "true",
    on: "false",
    expected: "true or false",
};

/// The only protocol of the exporter.
const PROTOCOL: &str = "grpc";
const PROTOCOL_VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// The overrides of the environment, in rising order of precedence.
pub(super) fn of_environment(
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Override>, Vec<Problem>> {
    let given = |name: &str| {
        let text = variables.get(name).map(|text| text.trim());
        text.filter(|text| !text.is_empty())
    };
    let mut overrides = Vec::new();
    let mut problems = Vec::new();
    // Set for all programs of a machine, they may be meant for others: where traces are off, only the switch counts.
    let is_off = |&(name, _, form): &(&str, &str, Form)| match form {
        Form::Switch { off, .. } => given(name).is_some_and(|text| text.eq_ignore_ascii_case(off)),
        Form::Text | Form::Millis => false,
    };
    let switched_off = VARIABLES.iter().any(is_off);
    for &(name, field, form) in VARIABLES {
        if switched_off && field != "enabled" {
            continue;
        }
        let Some(text) = given(name) else { continue };
        match form.read(text) {
            Ok(None) => {}
            Ok(Some(text)) => overrides.push(Override {
                origin: origin(name),
                path: format!("telemetry.traces.{field}"),
                text,
            }),
            Err(expected) => problems.push(problem(name, format!("`{text}` is not {expected}"))),
        }
    }
    let has_endpoint = overrides
        .iter()
        .any(|given| given.path.ends_with(".endpoint"));
    let protocol = PROTOCOL_VARIABLES
        .iter()
        .find_map(|name| Some((name, given(name)?)));
    if let Some((name, text)) = protocol
        && has_endpoint
        && text != PROTOCOL
    {
        let message = format!("`{text}` is not spoken, only {PROTOCOL} (usually port 4317)");
        problems.push(problem(name, message));
    }
    if problems.is_empty() {
        Ok(overrides)
    } else {
        Err(problems)
    }
}

impl Form {
    /// The field's text; `None` when the variable leaves the field as it is.
    fn read(self, text: &str) -> Result<Option<String>, &'static str> {
        let lower = text.to_ascii_lowercase();
        match (self, lower.as_str()) {
            (Self::Text, _) => Ok(Some(text.to_owned())),
            (Self::Millis, _) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Some(format!("{text}ms")))
            }
            (Self::Millis, _) => Err("a whole number of milliseconds"),
            (Self::Switch { off, .. }, lower) if lower == off => Ok(Some("false".to_owned())),
            (Self::Switch { on, .. }, lower) if lower == on => Ok(None),
            (Self::Switch { expected, .. }, _) => Err(expected),
        }
    }
}

fn origin(name: &str) -> Origin {
    Origin::Environment {
        name: name.to_owned(),
    }
}

fn problem(name: &str, message: String) -> Problem {
    let place = Place::Value {
        origin: origin(name),
        line_text: None,
    };
    Problem::new(place, message)
}
