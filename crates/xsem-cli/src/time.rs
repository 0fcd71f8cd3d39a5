//! TIME as people type it: `5`, `1.5`, `500ms`, `2m`.

use std::time::Duration;

/// Seconds, or a number with a unit.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let allowed = "use seconds (`5`, `1.5`) or a number with ms, s, m, h or d (`500ms`, `2m`)";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{unit}` is not a unit of time; {allowed}")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number; {allowed}"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("that is too long; {allowed}"))
}

/// `FIRST..MAX`, or one time for both.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_range(text: &str) -> Result<(Duration, Duration), String> {
    let (first, max) = match text.split_once("..") {
        Some((first, max)) => (parse(first)?, parse(max)?),
        None => (parse(text)?, parse(text)?),
    };
    match first <= max {
        true => Ok((first, max)),
        false => Err(format!("`{text}`: the first pause is longer than the longest; write FIRST..MAX, such as `1s..1m`")),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_range};
    use std::time::Duration;

    #[test]
    fn reads_what_people_type() {
        for (text, ms) in [
            ("5", 5000),
            ("1.5", 1500),
            ("0", 0),
            ("500ms", 500),
            ("2m", 120_000),
            (".5s", 500),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn reads_a_first_and_a_longest_pause() {
        let s = Duration::from_secs;
        assert_eq!(parse_range("1s..1m"), Ok((s(1), s(60))));
        assert_eq!(parse_range("2"), Ok((s(2), s(2))));
        assert_eq!(parse_range(".5..5"), Ok((Duration::from_millis(500), s(5))));
        for text in ["", "..", "1..", "..5", "5..1", "1...5", "1-5"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_is_allowed() {
        for text in ["", "-1", "five", "5 minutes", "1.2.3", "inf", "NaN", "5min", "m", "99999999999999999999d"] {
            let e = parse(text).unwrap_err();
            assert!(e.contains("500ms"), "{text}: {e}");
        }
    }
}
