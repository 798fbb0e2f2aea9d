//! How long a request may take: the caller's `grpc-timeout` within the node's limits.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use super::convert::{Invalid, Limits};

/// The longest head start that our own deadline gets before the caller's.
const HEAD_START_MAX: Duration = Duration::from_millis(10);

/// What the caller sent as `grpc-timeout`, if anything.
///
/// # Errors
/// [`Invalid::GrpcTimeout`] when it is not one to eight digits and a unit.
pub fn grpc_timeout(metadata: &MetadataMap) -> Result<Option<Duration>, Invalid> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(parse)
        .map(Some)
        .ok_or(Invalid::GrpcTimeout)
}

/// How long the node works on a request. Its deadline comes a little before the caller's, so that
/// the caller gets our answer, which tells how many owners stored the value, and not its own
/// library's.
#[must_use]
pub fn budget(caller: Option<Duration>, limits: &Limits) -> Duration {
    let budget = caller.map_or(limits.request_timeout, |timeout| {
        timeout.saturating_sub(HEAD_START_MAX.min(timeout / 20))
    });
    budget.min(limits.max_request_timeout)
}

fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let amount: u64 = is_number.then(|| digits.parse().ok())??;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_understood() {
        let cases = [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("250m", Duration::from_millis(250)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("0n", Duration::ZERO),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn malformed_timeouts_are_refused() {
        for text in [
            "",
            "S",
            "5",
            "5s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1é",
            "5 S",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let mut metadata = MetadataMap::new();
        assert_eq!(grpc_timeout(&metadata), Ok(None));
        metadata.insert("grpc-timeout", "soon".parse().expect("ascii"));
        assert_eq!(grpc_timeout(&metadata), Err(Invalid::GrpcTimeout));
    }

    #[test]
    fn whoever_leaves_no_time_has_no_budget() {
        let limits = Limits::for_tests();
        assert_eq!(budget(Some(Duration::ZERO), &limits), Duration::ZERO);
        let least = Duration::from_nanos(1);
        assert!(!budget(Some(least), &limits).is_zero());
    }

    #[test]
    fn our_deadline_comes_a_little_before_the_callers() {
        let limits = Limits::for_tests();
        assert_eq!(budget(None, &limits), limits.request_timeout);
        assert_eq!(
            budget(Some(Duration::from_secs(1)), &limits),
            Duration::from_millis(990)
        );
        assert_eq!(
            budget(Some(Duration::from_millis(20)), &limits),
            Duration::from_millis(19)
        );
        assert_eq!(
            budget(Some(Duration::from_secs(3600)), &limits),
            limits.max_request_timeout
        );
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,12}") {
            let _parsed = parse(&text);
        }

        #[test]
        fn the_budget_is_never_more_than_the_caller_gave(micros in 0u64..100_000_000) {
            let caller = Duration::from_micros(micros);
            prop_assert!(budget(Some(caller), &Limits::for_tests()) <= caller);
        }
    }
}
