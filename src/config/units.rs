//! Durations, sizes and bounded numbers as people write them, for use with serde's `with` and `deserialize_with`.
//!
//! Every refusal says what was given and what is accepted.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer},
};

/// Longest duration anywhere: ten years.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Largest size anywhere: one pebibyte. Keeps sums of sizes far from overflow.
const SIZE_BYTES_MAX: u64 = 1 << 50;

/// What a duration looks like, for messages.
pub(super) const DURATION_FORM: &str = "a duration such as 3600s, 100ms, 24h or 1h 30m (a bare number means seconds), at most 10 years";
/// What a size looks like, for messages.
pub(super) const SIZE_FORM: &str =
    "a size such as 512MiB, 64KiB or 1GB (a bare number means bytes), at most 1PiB";

/// Parses a duration: humantime's form, or bare seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("`{text}`: {error}; expected {DURATION_FORM}"))?,
    };
    if duration > DURATION_MAX {
        return Err(format!("`{text}` is too long, expected {DURATION_FORM}"));
    }
    Ok(duration)
}

/// Writes a duration in the largest unit up to hours that holds it exactly, so that it parses back to itself.
pub(super) fn format_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
        ("ns", 1),
    ];
    let nanos = duration.as_nanos();
    let exact = |&&(_, unit): &&(&str, u128)| nanos != 0 && nanos.is_multiple_of(unit);
    match UNITS.iter().find(exact) {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

/// Parses a size: bytesize's form, or bare bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let size = text
        .parse::<bytesize::ByteSize>()
        .map_err(|error| format!("`{text}`: {error}; expected {SIZE_FORM}"))?
        .as_u64();
    if size > SIZE_BYTES_MAX {
        return Err(format!("`{text}` is too large, expected {SIZE_FORM}"));
    }
    Ok(size)
}

/// Writes a size in the largest binary unit that holds it exactly, so that it parses back to itself.
pub(super) fn format_size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = |&&(_, shift): &&(&str, u32)| bytes != 0 && bytes.is_multiple_of(1 << shift);
    match UNITS.iter().find(exact) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// Reads text by a parser and bare numbers as they are.
struct TextOrNumber<T> {
    form: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// Durations: `#[serde(with = "units::duration")]`.
pub(super) mod duration {
    use super::{
        DURATION_FORM, Deserializer, Duration, Serializer, TextOrNumber, format_duration,
        parse_duration,
    };

    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            form: DURATION_FORM,
            parse: parse_duration,
        })
    }
}

/// Sizes in bytes: `#[serde(with = "units::size")]`.
pub(super) mod size {
    use super::{
        Deserializer, Error, SIZE_FORM, Serializer, TextOrNumber, format_size, parse_size,
    };

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(*bytes as u64))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        let bytes = deserializer.deserialize_any(TextOrNumber {
            form: SIZE_FORM,
            parse: parse_size,
        })?;
        usize::try_from(bytes).map_err(|_| D::Error::custom("larger than this machine can address"))
    }
}

/// Sizes in bytes that may be absent: `#[serde(with = "units::optional_size")]`.
pub(super) mod optional_size {
    use super::{
        Deserialize, Deserializer, SIZE_FORM, Serializer, TextOrNumber, format_size, parse_size,
    };

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&format_size(*bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Size>::deserialize(deserializer)?.map(|Size(bytes)| bytes))
    }

    struct Size(u64);

    impl<'de> Deserialize<'de> for Size {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer
                .deserialize_any(TextOrNumber {
                    form: SIZE_FORM,
                    parse: parse_size,
                })
                .map(Self)
        }
    }
}

/// Text with its percent-encoded bytes decoded; `None` when they are no UTF-8 or not two hexadecimal digits follow.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // Unlike the reader of numbers, no sign.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        decoded.push(is_hex.then(|| u8::from_str_radix(digits, 16).ok())??);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).ok()
}

/// A list, or a single element in its place: `#[serde(with = "units::one_or_many")]`.
pub(super) mod one_or_many {
    use super::{Deserialize, Deserializer, OneOrMany, PhantomData, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer, T: Serialize>(
        list: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(OneOrMany(PhantomData))
    }
}

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

/// Reads a whole number from `MIN` to `MAX`.
pub(super) fn whole<'de, D, T, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = deserializer.deserialize_any(Whole { min: MIN, max: MAX })?;
    T::try_from(number).map_err(|_| D::Error::custom(format_args!("{number} is too large")))
}

/// Reads a whole number from `MIN` to `MAX` that may be absent.
pub(super) fn optional_whole<'de, D, T, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    struct Bounded<T, const MIN: u64, const MAX: u64>(T);

    impl<'de, T: TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de>
        for Bounded<T, MIN, MAX>
    {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            whole::<D, T, MIN, MAX>(deserializer).map(Self)
        }
    }

    Ok(Option::<Bounded<T, MIN, MAX>>::deserialize(deserializer)?.map(|Bounded(number)| number))
}

struct Whole {
    min: u64,
    max: u64,
}

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.min, self.max)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        if (self.min..=self.max).contains(&number) {
            Ok(number)
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// Reads a number from 0 to 1.
pub(super) fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(Ratio {
        form: "a number from 0 to 1",
        zero: true,
    })
}

/// Reads a number above 0 and up to 1.
pub(super) fn positive_ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(Ratio {
        form: "a number above 0 and up to 1",
        zero: false,
    })
}

struct Ratio {
    form: &'static str,
    zero: bool,
}

impl Visitor<'_> for Ratio {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        // Not-a-number is in no range.
        if (0.0..=1.0).contains(&number) && (self.zero || number > 0.0) {
            Ok(number)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        // Precision is lost only far outside the range.
        self.visit_f64(u32::try_from(number).map_or(f64::MAX, f64::from))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("3600s", 3_600_000),
            ("100ms", 100),
            ("0", 0),
            ("30", 30_000),
            ("1h 30m", 5_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn percent_encoded_text_is_decoded_or_refused() {
        let decoded = |text| percent_decoded(text);
        assert_eq!(decoded("a%20b%C3%A9").as_deref(), Some("a bé"));
        assert_eq!(decoded("plain").as_deref(), Some("plain"));
        for text in ["%", "%2", "%+1", "%zz", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn a_bad_duration_or_size_says_what_is_accepted() {
        for text in [
            "3 parsecs",
            "",
            "-5s",
            "1e400s",
            "11years",
            "99999999999999999999",
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains("such as 3600s"), "{error}");
        }
        for text in ["12 bananas", "", "-1", "2PiB"] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains("such as 512MiB"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn durations_written_by_us_read_back_as_themselves(count in 0u64..10_000, unit in 0u32..12) {
            let duration = Duration::from_nanos(count * 10u64.pow(unit));
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn sizes_written_by_us_read_back_as_themselves(shift in 0u32..40, factor in 0u64..1024) {
            let bytes = factor << shift;
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }
}
