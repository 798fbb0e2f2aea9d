//! Trace context as it travels: W3C `traceparent` and `tracestate` from clients, and the same text in peer frames of
//! sampled requests. Pure text to values and back; what cannot be read is ignored, never an error.
//!
//! Format: W3C Trace Context, level 1, <https://www.w3.org/TR/trace-context/>.

use std::sync::Arc;

/// Longest `tracestate` that is passed on, in bytes; a longer one is dropped, which the standard allows.
const STATE_BYTES_MAX: usize = 512;
/// Length of a `traceparent` of version 00, in bytes.
const PARENT_BYTES: usize = 55;
const SAMPLED: u8 = 1;

/// A span that others hang below: which trace, which span, and whether it is recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceParent {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span; never 0.
    pub span_id: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
    /// What vendors pass along, as it came.
    pub state: Option<Arc<str>>,
}

impl TraceParent {
    /// Reads a `traceparent` header; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(..2)?)?;
        // Later versions may add fields at the end; 255 is not a version.
        let legal = match version {
            0 => bytes.len() == PARENT_BYTES,
            255 => false,
            _ => bytes.len() == PARENT_BYTES || bytes.get(PARENT_BYTES) == Some(&b'-'),
        };
        let dashed = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
        if !legal || !dashed {
            return None;
        }
        let trace_id = hex(bytes.get(3..35)?)?;
        let span_id = u64::try_from(hex(bytes.get(36..52)?)?).ok()?;
        let flags = u8::try_from(hex(bytes.get(53..PARENT_BYTES)?)?).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & SAMPLED != 0,
            state: None,
        })
    }

    /// A `tracestate` worth passing on; `None` when it is empty, too long or not printable ASCII.
    #[must_use]
    pub fn legal_state(text: &str) -> Option<Arc<str>> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let fits = (1..=STATE_BYTES_MAX).contains(&text.len());
        (printable && fits).then(|| text.into())
    }

    /// The `traceparent` header.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let Self {
            trace_id,
            span_id,
            sampled,
            state: _,
        } = self;
        format!(
            "00-{trace_id:032x}-{span_id:016x}-{:02x}",
            u8::from(*sampled)
        )
    }

    /// As it stands in an operation of a peer frame: the `traceparent`, and the `tracestate` after a line feed.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut text = self.traceparent();
        if let Some(state) = &self.state {
            text.push('\n');
            text.push_str(state);
        }
        text.into_bytes()
    }

    /// Reads what [`Self::to_frame`] wrote. Anything else is `None`: a trace must never fail an operation.
    #[must_use]
    pub fn from_frame(frame: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(frame).ok()?;
        let (parent, state) = match text.split_once('\n') {
            Some((parent, state)) => (parent, Some(state)),
            None => (text, None),
        };
        let mut parent = Self::parse(parent)?;
        parent.state = state.and_then(Self::legal_state);
        Some(parent)
    }
}

/// Lower-case hexadecimal digits, at most 32 of them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let parent = TraceParent::parse(EXAMPLE).expect("legal");
        assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(parent.sampled);
        assert_eq!(parent.traceparent(), EXAMPLE);
    }

    #[test]
    fn the_sampled_flag_is_one_bit_of_several() {
        let flags = |flags: &str| {
            let text = format!("{}{flags}", &EXAMPLE[..53]);
            TraceParent::parse(&text).map(|parent| parent.sampled)
        };
        assert_eq!(flags("00"), Some(false));
        assert_eq!(flags("02"), Some(false));
        assert_eq!(flags("03"), Some(true));
        assert_eq!(flags("0g"), None);
    }

    #[test]
    fn later_versions_may_be_longer_and_the_present_one_may_not() {
        assert!(TraceParent::parse(&format!("01{}-what-comes", &EXAMPLE[2..])).is_some());
        assert!(TraceParent::parse(&format!("01{}", &EXAMPLE[2..])).is_some());
        assert!(TraceParent::parse(&format!("01{}x", &EXAMPLE[2..])).is_none());
        assert!(TraceParent::parse(&format!("{EXAMPLE}-more")).is_none());
        assert!(TraceParent::parse(&format!("ff{}", &EXAMPLE[2..])).is_none());
    }

    #[test]
    fn malformed_parents_are_ignored() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_overlong_or_unprintable_state_is_dropped() {
        assert_eq!(TraceParent::legal_state("a=1").as_deref(), Some("a=1"));
        assert_eq!(TraceParent::legal_state(""), None);
        assert_eq!(TraceParent::legal_state("a=\u{7}"), None);
        assert_eq!(TraceParent::legal_state(&"x".repeat(513)), None);
    }

    proptest! {
        #[test]
        fn any_parent_survives_the_wire(
            trace_id in 1u128..,
            span_id in 1u64..,
            sampled: bool,
            state in prop::option::of("[a-z]{1,8}=[a-z0-9,=]{0,40}"),
        ) {
            let state = state.map(Arc::from);
            let parent = TraceParent { trace_id, span_id, sampled, state };
            prop_assert_eq!(TraceParent::from_frame(&parent.to_frame()), Some(parent));
        }

        #[test]
        fn junk_headers_are_read_or_ignored(text in "\\PC{0,80}", tail in "[0-9a-f-]{0,60}") {
            let _any = TraceParent::parse(&text);
            let _near = TraceParent::parse(&format!("00-{tail}"));
            let _state = TraceParent::legal_state(&text);
        }

        #[test]
        fn junk_frames_are_read_or_ignored(frame in prop::collection::vec(any::<u8>(), 0..120)) {
            let _any = TraceParent::from_frame(&frame);
        }
    }
}
