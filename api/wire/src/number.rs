//! Whole numbers, as clients send them: `az` sends some as strings.

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A whole number: `2048`, `2048.0` or `"2048"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub i64);

/// Longest text of a number, in bytes.
const TEXT_BYTES_MAX: usize = 20;

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                i64::try_from(number).map(Number).map_err(|_| E::custom("not a whole number"))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                // Printed without an exponent; what is no whole number keeps a point or a name.
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let plain = (1..=TEXT_BYTES_MAX).contains(&digits.len())
                    && digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = if plain { text.parse().ok() } else { None };
                number.map(Number).ok_or_else(|| E::custom("not a whole number"))
            }
        }
        deserializer.deserialize_any(Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_strings_and_whole_fractions() {
        for text in ["2048", "\"2048\"", "2048.0", "2.048e3"] {
            assert_eq!(serde_json::from_str::<Number>(text).unwrap(), Number(2048), "{text}");
        }
        assert_eq!(serde_json::from_str::<Number>("\"-5\"").unwrap(), Number(-5));
    }

    #[test]
    fn what_is_no_whole_number_is_refused() {
        for bad in [
            "2048.5",
            "\"\"",
            "\"+1\"",
            "\"1e3\"",
            "\"0x10\"",
            "\" 1\"",
            "true",
            "null",
            "[1]",
            "{}",
            "1e300",
            "18446744073709551615",
            "\"99999999999999999999\"",
            "\"-\"",
        ] {
            assert!(serde_json::from_str::<Number>(bad).is_err(), "{bad}");
        }
    }
}
