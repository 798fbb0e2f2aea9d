//! The lines of a history on disk. An operation is one flat object there, so that it can be searched with line tools;
//! which fields are present follows from `kind`, `outcome` and `found`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    error::ReadError,
    header::Header,
    mark::{Mark, OwnerCopy},
    operation::{
        Answer, Answered, Consistency, Degrade, Life, Operation, Outcome, Request, Unanswered,
    },
    version::{ValueId, Version},
};

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    History(Cow<'a, Header>),
    #[serde(borrow)]
    Operation(OperationLine<'a>),
    Mark(Cow<'a, Mark>),
    Copy(Cow<'a, OwnerCopy>),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Set,
    Get,
    Delete,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeName {
    Ok,
    Failed,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationLine<'a> {
    id: u64,
    #[serde(default)]
    client: u32,
    node: u32,
    #[serde(borrow)]
    key: Cow<'a, str>,
    kind: Kind,
    /// What a set stores, or a get found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<ValueId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<Life>,
    consistency: Consistency,
    #[serde(default, skip_serializing_if = "is_refuse")]
    degrade: Degrade,
    invoked_ns: u64,
    completed_ns: u64,
    outcome: OutcomeName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_in_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<bool>,
    #[serde(default, skip_serializing_if = "is_false")]
    degraded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took_part: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owners: Option<u8>,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    reason: Cow<'a, str>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn is_refuse(degrade: &Degrade) -> bool {
    *degrade == Degrade::Refuse
}

impl<'a> From<&'a Operation> for OperationLine<'a> {
    fn from(operation: &'a Operation) -> Self {
        let (kind, value, life) = match operation.request {
            Request::Set { value, life } => (Kind::Set, Some(value), Some(life)),
            Request::Get => (Kind::Get, None, None),
            Request::Delete => (Kind::Delete, None, None),
        };
        let mut line = Self {
            id: operation.id,
            client: operation.client,
            node: operation.node,
            key: Cow::Borrowed(&operation.key),
            kind,
            value,
            life,
            consistency: operation.consistency,
            degrade: operation.degrade,
            invoked_ns: operation.invoked_ns,
            completed_ns: operation.completed_ns,
            outcome: OutcomeName::Ok,
            found: None,
            version: None,
            expires_in_ns: None,
            replaced: None,
            degraded: false,
            took_part: None,
            owners: None,
            reason: Cow::Borrowed(""),
        };
        match &operation.outcome {
            Outcome::Ok(answered) => line.answer(answered),
            Outcome::Failed(unanswered) => {
                line.outcome = OutcomeName::Failed;
                line.reason = Cow::Borrowed(&unanswered.reason);
            }
            Outcome::Unknown(unanswered) => {
                line.outcome = OutcomeName::Unknown;
                line.reason = Cow::Borrowed(&unanswered.reason);
            }
        }
        line
    }
}

impl OperationLine<'_> {
    const fn answer(&mut self, answered: &Answered) {
        self.degraded = answered.degraded;
        self.took_part = answered.took_part;
        self.owners = answered.owners;
        match answered.answer {
            Answer::Written { version, replaced } => {
                self.version = Some(version);
                self.replaced = replaced;
            }
            Answer::Hit {
                value,
                version,
                expires_in_ns,
            } => {
                self.found = Some(true);
                self.value = Some(value);
                self.version = Some(version);
                self.expires_in_ns = expires_in_ns;
            }
            Answer::Miss { version } => {
                self.found = Some(false);
                self.version = version;
            }
        }
    }

    /// The operation that the line, of this number, describes.
    pub(super) fn into_operation(self, line: usize) -> Result<Operation, ReadError> {
        let missing = |field, of| ReadError::Missing { line, field, of };
        if self.completed_ns < self.invoked_ns {
            return Err(ReadError::Inconsistent {
                line,
                field: "operation.completed_ns",
                problem: "before invoked_ns",
            });
        }
        let request = match self.kind {
            Kind::Set => Request::Set {
                value: self
                    .value
                    .ok_or_else(|| missing("operation.value", "set"))?,
                life: self.life.ok_or_else(|| missing("operation.life", "set"))?,
            },
            Kind::Get => Request::Get,
            Kind::Delete => Request::Delete,
        };
        let unanswered = || Unanswered {
            reason: self.reason.clone().into_owned(),
        };
        let outcome = match self.outcome {
            OutcomeName::Ok => Outcome::Ok(Answered {
                answer: self.answer_to(request, missing)?,
                degraded: self.degraded,
                took_part: self.took_part,
                owners: self.owners,
            }),
            OutcomeName::Failed => Outcome::Failed(unanswered()),
            OutcomeName::Unknown => Outcome::Unknown(unanswered()),
        };
        Ok(Operation {
            id: self.id,
            client: self.client,
            node: self.node,
            key: self.key.into_owned(),
            request,
            consistency: self.consistency,
            degrade: self.degrade,
            invoked_ns: self.invoked_ns,
            completed_ns: self.completed_ns,
            outcome,
        })
    }

    fn answer_to(
        &self,
        request: Request,
        missing: impl Fn(&'static str, &'static str) -> ReadError,
    ) -> Result<Answer, ReadError> {
        if request.is_write() {
            return Ok(Answer::Written {
                version: self
                    .version
                    .ok_or_else(|| missing("operation.version", "write that is ok"))?,
                replaced: self.replaced,
            });
        }
        let is_hit = self
            .found
            .ok_or_else(|| missing("operation.found", "get that is ok"))?;
        if !is_hit {
            return Ok(Answer::Miss {
                version: self.version,
            });
        }
        Ok(Answer::Hit {
            value: self
                .value
                .ok_or_else(|| missing("operation.value", "get that found something"))?,
            version: self
                .version
                .ok_or_else(|| missing("operation.version", "get that found something"))?,
            expires_in_ns: self.expires_in_ns,
        })
    }
}
