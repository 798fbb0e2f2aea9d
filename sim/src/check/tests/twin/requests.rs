//! How requests are carried out, message by message.

use super::{super::story::MILLI, Bug, DEADLINE, Due, NODES, Record, Step, Twin};
use crate::history::{
    Answer, Answered, Consistency, Degrade, Life, Outcome, Request, Unanswered, Version,
};

impl Twin {
    pub(super) fn step(&mut self, index: usize, step: Step) {
        let (key, is_over) = (self.running[index].key, self.running[index].is_over);
        match step {
            Step::Begin => self.begin(index),
            Step::Store(node, record) => {
                if !self.counts(index, node) {
                    return;
                }
                let answer = match self.store(node, key, record) {
                    Ok(()) => Step::Stored(node, record),
                    Err(_)
                        if self.running[index].is_writing_back || self.has(Bug::NewerIgnored) =>
                    {
                        Step::Stored(node, record)
                    }
                    Err(newer) => Step::Newer(record, newer),
                };
                self.send(index, answer);
            }
            Step::Ask(node) => {
                if self.counts(index, node) {
                    let now = self.judging(node);
                    let held = self.nodes[node].records.get(&key);
                    let answer = held.map(|record| match record.expires_millis {
                        Some(expires) if expires <= now => Record {
                            value: None,
                            ..*record
                        },
                        Some(_) | None => *record,
                    });
                    self.send(index, Step::Answered(answer));
                }
            }
            Step::Stored(..) | Step::Newer(..) | Step::Answered(_) | Step::Deadline if is_over => {}
            Step::Stored(node, record) => self.stored(index, node, record),
            Step::Newer(record, newer) => self.restamp(index, record, newer),
            Step::Answered(answer) => self.answered(index, answer),
            Step::Deadline => self.give_up(index),
        }
    }

    /// A node answers only in the configuration in which the operation began.
    fn counts(&self, index: usize, node: usize) -> bool {
        self.nodes[node].is_up && self.running[index].epoch == self.epoch
    }

    fn send(&mut self, index: usize, step: Step) {
        if !self.dice.percent(self.plan.loss) {
            let at = self.now + self.dice.below(8 * MILLI);
            self.at(at, Due::Operation(index, step));
        }
    }

    fn begin(&mut self, index: usize) {
        let request = self.running[index].operation.request;
        let node = self.running[index].operation.node as usize;
        self.running[index].epoch = self.epoch;
        if !self.nodes[node].is_up || self.dice.percent(3) {
            let outcome = Outcome::Failed(Unanswered::default());
            self.end(index, outcome);
            if !self.has(Bug::FailedIsSent) {
                return;
            }
        }
        let deadline = self.now + DEADLINE;
        self.at(deadline, Due::Operation(index, Step::Deadline));
        let (value, life) = match request {
            Request::Get => {
                let first = self.dice.below(NODES as u64) as usize;
                // Asking all finds a quorum in spite of losses; the answer takes the first R.
                for offset in 0..NODES {
                    self.send(index, Step::Ask((first + offset) % NODES));
                }
                return;
            }
            Request::Delete => (None, Life::Never),
            Request::Set { value, life } => (Some(value), life),
        };
        let version = self.stamp(node, Version::default());
        let expires_millis = match life {
            Life::AfterNs(ns) => Some(version.millis + ns / MILLI),
            Life::Never | Life::Unrecorded => None,
        };
        let record = Record {
            version,
            value,
            expires_millis,
        };
        self.send_to_all(index, record);
    }

    fn send_to_all(&mut self, index: usize, record: Record) {
        let key = self.running[index].key;
        self.running[index].record = Some(record);
        self.running[index].stored.clear();
        for node in 0..NODES {
            self.send(index, Step::Store(node, record));
            if self.dice.percent(50) {
                let at = self.now + (10 + self.dice.below(500)) * MILLI;
                self.at(at, Due::Hint(node, key, record));
            }
        }
    }

    fn required(&self, index: usize) -> usize {
        let is_write = self.running[index].operation.request.is_write();
        if is_write && self.has(Bug::AcknowledgesEarly) {
            return 1;
        }
        match self.running[index].operation.consistency {
            Consistency::One => 1,
            Consistency::Quorum => 2,
            Consistency::All => NODES,
        }
    }

    fn stored(&mut self, index: usize, node: usize, record: Record) {
        let required = self.required(index);
        let running = &mut self.running[index];
        let present = running.record.map(|record| record.version);
        if present != Some(record.version) || running.stored.contains(&node) {
            return;
        }
        running.stored.push(node);
        if running.is_writing_back {
            if running.stored.len() >= 2 {
                self.read_done(index, false);
            }
        } else if running.stored.len() >= required {
            self.written(index, false);
        }
    }

    fn restamp(&mut self, index: usize, record: Record, newer: Version) {
        let running = &self.running[index];
        let node = running.operation.node as usize;
        if running.record.map(|record| record.version) == Some(record.version) {
            let version = self.stamp(node, newer);
            self.send_to_all(index, Record { version, ..record });
        }
    }

    fn answered(&mut self, index: usize, answer: Option<Record>) {
        let required = self.required(index);
        let running = &mut self.running[index];
        if running.is_writing_back {
            return;
        }
        running.answers.push(answer);
        if running.answers.len() < required {
            return;
        }
        let newest = newest(&running.answers);
        running.record = newest;
        let Some(record) = newest else {
            return self.read_done(index, false);
        };
        let holders = running.answers.iter().flatten();
        let holders = holders
            .filter(|held| held.version == record.version)
            .count();
        let is_one = running.operation.consistency == Consistency::One;
        if is_one || holders >= 2 || self.plan.bug == Some(Bug::NoWriteBack) {
            return self.read_done(index, false);
        }
        running.is_writing_back = true;
        for node in 0..NODES {
            self.send(index, Step::Store(node, record));
        }
    }

    /// At the deadline fewer will do, where that is accepted.
    fn give_up(&mut self, index: usize) {
        let running = &mut self.running[index];
        let is_silent = self.plan.bug == Some(Bug::DegradesSilently);
        let accepts = is_silent || running.operation.degrade == Degrade::Accept;
        let is_read = running.operation.request == Request::Get;
        if accepts && is_read && !running.answers.is_empty() && !running.is_writing_back {
            running.record = newest(&running.answers);
            self.read_done(index, !is_silent);
        } else if accepts && !is_read && !running.stored.is_empty() {
            self.written(index, !is_silent);
        } else {
            self.end(index, Outcome::Unknown(Unanswered::default()));
        }
    }

    fn written(&mut self, index: usize, degraded: bool) {
        let running = &self.running[index];
        let answer = Answer::Written {
            version: running
                .record
                .map(|record| record.version)
                .unwrap_or_default(),
            replaced: None,
        };
        let stored = running.stored.len();
        // Whoever acknowledges early believes that it was enough.
        let believed = if self.has(Bug::AcknowledgesEarly) {
            NODES
        } else {
            stored
        };
        let took_part = Some(believed as u8);
        self.answer(index, answer, degraded, took_part);
    }

    fn read_done(&mut self, index: usize, degraded: bool) {
        let running = &self.running[index];
        let now = self.judging(running.operation.node as usize);
        let answer = match running.record {
            Some(Record {
                version,
                value: Some(value),
                expires_millis,
            }) if expires_millis.is_none_or(|expires| expires > now) => Answer::Hit {
                value,
                version,
                expires_in_ns: expires_millis.map(|expires| (expires - now) * MILLI),
            },
            record => Answer::Miss {
                version: record.map(|record| record.version),
            },
        };
        let took_part = Some(running.answers.len() as u8);
        self.answer(index, answer, degraded, took_part);
    }

    fn answer(&mut self, index: usize, answer: Answer, degraded: bool, took_part: Option<u8>) {
        let answered = Answered {
            answer,
            degraded,
            took_part,
            owners: Some(NODES as u8),
        };
        self.end(index, Outcome::Ok(answered));
    }

    fn end(&mut self, index: usize, outcome: Outcome) {
        let running = &mut self.running[index];
        running.is_over = true;
        running.operation.completed_ns = self.now + 1;
        running.operation.outcome = outcome;
    }
}

/// The newest of some answers; of one version, one without a value when in doubt.
fn newest(answers: &[Option<Record>]) -> Option<Record> {
    let held = answers.iter().flatten();
    held.copied()
        .max_by_key(|record| (record.version, record.value.is_none()))
}
