//! How long something takes, on the command line.

use std::time::Duration;

/// Reads `90s`, `2m`, `1h`, `500ms`; seconds where there is no unit.
///
/// # Errors
/// A unit that is none, no number, or nothing at all.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let millis_per = match &text[digits..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        unit => return Err(format!("`{unit}` is no unit of time; use ms, s, m or h")),
    };
    let number: u64 =
        text[..digits].parse().map_err(|_| "a number with ms, s, m or h, such as 1h".to_owned())?;
    match number.checked_mul(millis_per) {
        Some(0) | None => Err("more than nothing, and less than for ever".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_written() {
        let check = |text, millis| assert_eq!(parse(text).ok(), Some(Duration::from_millis(millis)));
        check("1h", 3_600_000);
        check("2m", 120_000);
        check("90s", 90_000);
        check("90", 90_000);
        check("250ms", 250);
        for wrong in ["", "s", "0s", "5d", "1.5s", "-1s", "99999999999999999999s", "18446744073709551615m"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
