//! The key-value service of etcd: a put, and a linearizable read of one key.

use crate::{
    operation::{Answer, Kind, Operation},
    plan::Plan,
    service::{Field, Fields, Service, put_bytes, put_head},
    value::{self, Keys},
};

/// `etcdserverpb.KV`.
#[derive(Debug)]
pub(crate) struct Etcd {
    keys: Keys,
    verify: bool,
    key: Vec<u8>,
}

impl Etcd {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            keys: plan.keys_format(),
            verify: plan.verify,
            key: Vec::with_capacity(plan.key_bytes),
        }
    }
}

impl Service for Etcd {
    fn path(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Read => "/etcdserverpb.KV/Range",
            Kind::Write => "/etcdserverpb.KV/Put",
        }
    }

    fn encode(&mut self, operation: &Operation, out: &mut Vec<u8>) {
        self.key.clear();
        self.keys.write(operation.key, &mut self.key);
        put_bytes(1, &self.key, out);
        if operation.kind == Kind::Write {
            let bytes = operation.value_bytes as usize;
            put_head(2, bytes, out);
            value::write(&self.key, operation.sequence, bytes, out);
        }
    }

    fn judge(&mut self, operation: &Operation, message: &[u8]) -> Option<Answer> {
        // Both answers begin with a header; a read goes on with the pairs it found.
        let mut fields = Fields { bytes: message };
        let mut pair = None;
        while !fields.bytes.is_empty() {
            if let (2, Field::Bytes(found)) = fields.next()? {
                pair = Some(found);
            }
        }
        if operation.kind == Kind::Write {
            return Some(Answer::Stored);
        }
        let Some(pair) = pair else {
            return Some(Answer::Miss);
        };
        let mut fields = Fields { bytes: pair };
        // An empty value is left out.
        let mut found: &[u8] = &[];
        while !fields.bytes.is_empty() {
            if let (5, Field::Bytes(value)) = fields.next()? {
                found = value;
            }
        }
        self.key.clear();
        self.keys.write(operation.key, &mut self.key);
        if !self.verify || value::verify(&self.key, found) {
            Some(Answer::Hit)
        } else {
            Some(Answer::Corrupt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::put_number;

    #[test]
    fn a_read_finds_the_value_of_the_pair() {
        let plan = Plan::default();
        let mut etcd = Etcd::new(&plan);
        let read = Operation {
            kind: Kind::Read,
            key: 3,
            sequence: 0,
            value_bytes: 0,
        };
        let mut answer = Vec::new();
        put_bytes(1, &[], &mut answer);
        assert_eq!(etcd.judge(&read, &answer), Some(Answer::Miss));
        let (mut key, mut value, mut pair) = (Vec::new(), Vec::new(), Vec::new());
        plan.keys_format().write(3, &mut key);
        value::write(&key, 1, 40, &mut value);
        put_bytes(1, &key, &mut pair);
        put_number(4, 1, &mut pair);
        put_bytes(5, &value, &mut pair);
        put_bytes(2, &pair, &mut answer);
        put_number(4, 1, &mut answer);
        assert_eq!(etcd.judge(&read, &answer), Some(Answer::Hit));
        let other = Operation { key: 4, ..read };
        assert_eq!(etcd.judge(&other, &answer), Some(Answer::Corrupt));
    }
}
