//! Points in time, and spans of it, as text.

use std::time::Duration;

/// A time since the start of 1970 in the form of RFC 3339, in UTC, with as many digits after the
/// second as are needed (Go's `time.RFC3339Nano`).
#[must_use]
pub fn rfc3339_nano(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let nanos = since_1970.subsec_nanos();
    if nanos != 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The time that [`rfc3339_nano`] has written as this text; `None` if it has not.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let three_numbers = |text: &str, separator| {
        let mut numbers = text.split(separator).map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok().filter(|number| *number <= 9999);
        Some((next()?, next()?, next()?))
    };
    let (year, month, day) = three_numbers(date, '-')?;
    let (hour, minute, second) = three_numbers(time, ':')?;
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    let days_before = |year| (1970..year).map(days_in_year).sum::<u64>();
    let before = usize::try_from(month).ok()?.checked_sub(1)?;
    let days_in_year_before = days_in_months(year).into_iter().take(before).sum::<u64>();
    let days = days_before(year) + days_in_year_before + day.checked_sub(1)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let read = Duration::new(seconds, nanos);
    (rfc3339_nano(read) == text).then_some(read)
}

/// A whole number of seconds (`10`, `10s`) or milliseconds (`500ms`), up to a hundred years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
    let time = match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s').unwrap_or(text).parse().ok()?),
    };
    (time <= LONGEST).then_some(time)
}

/// Year, month and day of a day counted from the start of 1970.
fn civil_date(mut day: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    while day >= days_in_year(year) {
        day -= days_in_year(year);
        year += 1;
    }
    let months = days_in_months(year);
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    (year, month + 1, day + 1)
}

fn days_in_months(year: u64) -> [u64; 12] {
    let february = days_in_year(year) - 337;
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

fn days_in_year(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 0, "1970-01-01T00:00:00Z")]
    #[case(951_782_400, 0, "2000-02-29T00:00:00Z")]
    #[case(4_107_542_399, 0, "2100-02-28T23:59:59Z")]
    #[case(4_107_542_400, 0, "2100-03-01T00:00:00Z")]
    #[case(1_795_434_620, 862_661_654, "2026-11-23T11:50:20.862661654Z")]
    #[case(1_795_434_620, 500_000_000, "2026-11-23T11:50:20.5Z")]
    fn times(#[case] seconds: u64, #[case] nanos: u32, #[case] text: &str) {
        assert_eq!(rfc3339_nano(Duration::new(seconds, nanos)), text);
        assert_eq!(parse_rfc3339(text), Some(Duration::new(seconds, nanos)));
    }

    #[rstest]
    #[case("")]
    #[case("1970-01-01T00:00:00")]
    #[case("1969-12-31T23:59:59Z")]
    #[case("1970-00-01T00:00:00Z")]
    #[case("1970-01-00T00:00:00Z")]
    #[case("1970-13-01T00:00:00Z")]
    #[case("2026-02-29T00:00:00Z")]
    #[case("1970-01-01T00:60:00Z")]
    #[case("1970-01-01T00:00:00.50Z")]
    #[case("1970-01-01T00:00:00.0123456789Z")]
    #[case("1970-1-01T00:00:00Z")]
    #[case("99999999999999999999-01-01T00:00:00Z")]
    #[case("18446744073709551615-01-01T00:00:00Z")]
    #[case("2000-18446744073709551615-01T00:00:00Z")]
    #[case("2000-01-18446744073709551615T00:00:00Z")]
    #[case("2000-01-01T18446744073709551615:18446744073709551615:00Z")]
    fn no_times(#[case] text: &str) {
        assert_eq!(parse_rfc3339(text), None);
    }
}
