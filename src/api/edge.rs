//! What both faces of the client interface share: admission before anything else, and a measurement
//! of every request from its arrival to its end, also when the caller goes away first.

use std::{pin::Pin, sync::Arc, time::Duration};

use super::{
    convert::{self, Limits},
    status::{Answered, Refusal, Refused},
};
use crate::{
    clock::{Clock, Monotonic},
    coordinator::{Coordinator, Explanation},
    overload::{Admission, Class, Overloaded},
    telemetry::{
        Api, Code, Exemplar, Metrics, Op, ShedReason,
        traces::{Span, Tracer},
    },
};

use super::{cluster::ClusterQueries, deadline, traced};

/// The way from a client's request to the coordinator.
pub struct Edge {
    /// This node's name.
    pub node: String,
    /// Carries out the requests.
    pub coordinator: Arc<Coordinator>,
    /// Answers questions about the node and its cluster.
    pub queries: Arc<dyn ClusterQueries>,
    /// Bounds the requests in flight.
    pub admission: Arc<Admission>,
    /// What is accepted.
    pub limits: Limits,
    /// Deadlines and durations are measured by it.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Records sampled requests.
    pub tracer: Tracer,
}

impl Edge {
    /// Does `work`, if there is room for it, and measures it. Dropping the future counts as
    /// cancelled. The request was taken up when it `arrived`; `span` is the request's, if it is recorded; it ends with it.
    ///
    /// The work stays where its caller has pinned it: an argument that is awaited has two places in a future.
    pub(crate) async fn carry_out<T: Answered>(
        &self,
        api: Api,
        op: Op,
        arrived: Monotonic,
        span: Option<Box<Span>>,
        work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    ) -> Result<T, Refusal> {
        let mut measurement = Measurement::begin(self, api, op, arrived, span);
        let outcome = match self.admission.admit(class(op)) {
            // With the place taken, so that a node that leaves either waits for the request or refuses it.
            Ok(_permit) => match self.coordinator.check_admitting() {
                Ok(()) => traced::under(measurement.span.as_deref(), work).await,
                Err(draining) => Err(draining.into()),
            },
            Err(overloaded) => {
                self.metrics.requests_shed.get(reason(overloaded)).inc();
                Err(overloaded.into())
            }
        };
        measurement.code = outcome
            .as_ref()
            .map_or_else(Refusal::code_label, |_| Code::Ok);
        if let Some(span) = &mut measurement.span {
            traced::conclude(span, api, &outcome);
        }
        outcome
    }

    /// When a request that arrived at that time has to be answered.
    ///
    /// # Errors
    /// [`Refusal::Expired`] when that was before it arrived.
    pub(crate) fn deadline(
        &self,
        arrived: Monotonic,
        caller: Option<Duration>,
    ) -> Result<Monotonic, Refusal> {
        let budget = deadline::budget(caller, &self.limits);
        if budget.is_zero() {
            return Err(Refusal::Expired);
        }
        Ok(arrived.saturating_add(budget))
    }

    /// A refusal with how far the request got, if that is known.
    pub(super) fn refused(
        &self,
        refusal: Refusal,
        explanation: Option<Box<Explanation>>,
    ) -> Refused {
        let told = |explanation: Box<Explanation>| {
            Box::new(convert::wire_explain(
                *explanation,
                &self.node,
                &*self.clock,
            ))
        };
        Refused {
            refusal,
            explain: explanation.map(told),
        }
    }
}

const fn class(op: Op) -> Class {
    match op {
        Op::Get => Class::Read,
        Op::Set | Op::Delete => Class::Write,
    }
}

const fn reason(overloaded: Overloaded) -> ShedReason {
    match overloaded {
        Overloaded::Concurrency { .. } => ShedReason::Concurrency,
        Overloaded::Cpu { .. } => ShedReason::Cpu,
    }
}

/// One request being worked on; dropping it counts the request.
struct Measurement<'a> {
    edge: &'a Edge,
    api: Api,
    op: Op,
    arrived: Monotonic,
    code: Code,
    span: Option<Box<Span>>,
}

impl<'a> Measurement<'a> {
    fn begin(
        edge: &'a Edge,
        api: Api,
        op: Op,
        arrived: Monotonic,
        span: Option<Box<Span>>,
    ) -> Self {
        edge.metrics.requests_in_flight.get(api).inc();
        Self {
            edge,
            api,
            op,
            arrived,
            code: Code::Cancelled,
            span,
        }
    }
}

impl Drop for Measurement<'_> {
    fn drop(&mut self) {
        let Self {
            edge,
            api,
            op,
            arrived,
            code,
            ref span,
        } = *self;
        let taken = edge.clock.monotonic().saturating_sub(arrived);
        edge.metrics.requests_in_flight.get(api).dec();
        edge.metrics.requests.get((api, op, code)).inc();
        edge.metrics.request_duration.get((api, op)).observe(taken);
        if let Some(span) = span {
            let exemplar = Exemplar {
                trace_id: span.scope().trace_id(),
                taken,
                at_millis: edge.clock.wall_millis(),
            };
            edge.metrics.request_exemplars.get((api, op)).note(exemplar);
        }
        traced::log_finished(span.as_deref(), api, op, code, taken);
    }
}
