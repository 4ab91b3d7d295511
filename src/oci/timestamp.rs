//! Points in time as text.

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

/// Year, month and day of a day counted from the start of 1970.
fn civil_date(mut day: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    while day >= days_in_year(year) {
        day -= days_in_year(year);
        year += 1;
    }
    let february = days_in_year(year) - 337;
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    (year, month + 1, day + 1)
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
    }
}
