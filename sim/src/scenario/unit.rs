//! Times, shares and rates as text, by whole numbers only: a float would round differently somewhere.

/// Units of time, largest first, in nanoseconds.
const TIMES: [(&str, i128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of a rate, largest first, in bits per second.
const RATES: [(&str, i128); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

/// How a kind of number is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// What it is called, with its article.
    pub(crate) name: &'static str,
    /// What to write instead of a mistake.
    pub(crate) hint: &'static str,
    /// From text to the number.
    pub(crate) parse: fn(&str) -> Option<i128>,
    /// From the number to the shortest text.
    pub(crate) show: fn(i128) -> String,
}

/// Times, in nanoseconds.
pub(crate) const TIME: Unit = Unit {
    name: "a time",
    hint: "write a number with ns, us, ms, s, m or h, such as \"1.5s\"",
    parse: |text| parse_with(text, &TIMES),
    show: show_time,
};

/// Shares, in millionths.
pub(crate) const SHARE: Unit = Unit {
    name: "a share",
    hint: "write percent, such as 5 or \"0.5 %\"",
    parse: |text| parse_with(text, &[("%", 10_000)]).or_else(|| parse_with(text, &[(" %", 10_000)])),
    show: |ppm| format!("{} %", decimals(ppm, 10_000)),
};

/// Rates, in bits per second.
pub(crate) const RATE: Unit = Unit {
    name: "a rate",
    hint: "write a number with bit, kbit, mbit or gbit per second, such as \"500kbit\"",
    parse: |text| parse_with(text, &RATES),
    show: |bits| show_with(bits, &RATES),
};

/// Whole numbers.
pub(crate) const WHOLE: Unit = Unit {
    name: "a whole number",
    hint: "write digits without quotes",
    parse: |text| text.parse().ok(),
    show: |number| number.to_string(),
};

/// Returns both ends of `a..b`.
pub(crate) fn split_range(text: &str) -> Option<(&str, &str)> {
    text.split_once("..").map(|(from, to)| (from.trim(), to.trim()))
}

/// Returns the largest step both numbers are whole multiples of, of those people count in.
pub(crate) fn step(from: i128, to: i128) -> i128 {
    let is_step = |step: &i128| from % step == 0 && to % step == 0;
    [1_000_000, 1_000].into_iter().find(is_step).unwrap_or(1)
}

/// Reads a number with decimals and a unit. What is not a whole number of the smallest unit is none.
fn parse_with(text: &str, units: &[(&str, i128)]) -> Option<i128> {
    let at = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-'))?;
    let (number, unit) = text.split_at(at);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let (number, sign) = number.strip_prefix('-').map_or((number, 1), |number| (number, -1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let denominator = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = fraction.parse::<i128>().ok()? * scale;
    (parts % denominator == 0)
        .then_some(())
        .and_then(|()| Some(sign * (whole.parse::<i128>().ok()? * scale + parts / denominator)))
}

/// Writes a time: seconds with decimals down to the millisecond, else the unit that needs none.
fn show_time(nanos: i128) -> String {
    if nanos.abs() < 1_000_000_000 || nanos % 1_000_000 != 0 {
        return show_with(nanos, &TIMES[2..]);
    }
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}s", decimals(nanos.abs(), 1_000_000_000))
}

/// Writes a number in the largest unit that needs no decimals.
fn show_with(number: i128, units: &[(&str, i128)]) -> String {
    let whole = units.iter().find(|(_, scale)| number % scale == 0);
    // The smallest unit is 1, so there always is one.
    whole.map_or_else(String::new, |(unit, scale)| format!("{}{unit}", number / scale))
}

/// Writes a fraction with as many decimals as it needs.
fn decimals(number: i128, denominator: i128) -> String {
    let (whole, mut rest) = (number / denominator, number % denominator);
    let mut text = whole.to_string();
    if rest != 0 {
        text.push('.');
    }
    while rest != 0 {
        rest *= 10;
        text.push_str(&(rest / denominator).to_string());
        rest %= denominator;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_written() {
        let check = |unit: Unit, text, number| assert_eq!((unit.parse)(text), number, "{text}");
        check(TIME, "1.5s", Some(1_500_000_000));
        check(TIME, "40us", Some(40_000));
        check(TIME, "2m", Some(120_000_000_000));
        check(TIME, "-1h", Some(-3_600_000_000_000));
        check(TIME, "0.000000001s", Some(1));
        check(TIME, "0.5ns", None);
        check(TIME, "5 sec", None);
        check(TIME, "s", None);
        check(TIME, "1.s", None);
        check(TIME, "--1s", None);
        check(TIME, "1.2.3s", None);
        check(TIME, "7", None);
        check(SHARE, "0.5 %", Some(5_000));
        check(SHARE, "3%", Some(30_000));
        check(RATE, "500kbit", Some(500_000));
        check(RATE, "2.5mbit", Some(2_500_000));
        check(RATE, "2.5bit", None);
        check(RATE, "2MB", None);
    }

    #[test]
    fn numbers_are_written_short_and_read_back() {
        let check = |unit: Unit, number, text: &str| {
            assert_eq!((unit.show)(number), text);
            assert_eq!((unit.parse)(text), Some(number));
        };
        check(TIME, 0, "0s");
        check(TIME, 120_000_000_000, "120s");
        check(TIME, 1_500_000_000, "1.5s");
        check(TIME, -3_600_001_000_000, "-3600.001s");
        check(TIME, 1_500_000_001, "1500000001ns");
        check(TIME, -40_000, "-40us");
        check(SHARE, 5_000, "0.5 %");
        check(SHARE, 1_000_000, "100 %");
        check(SHARE, 1, "0.0001 %");
        check(RATE, 2_000_000, "2mbit");
        check(RATE, 1_234, "1234bit");
    }
}
