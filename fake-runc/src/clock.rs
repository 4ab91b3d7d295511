//! Dates as runc prints them.

use std::time::Duration;

/// A moment as RFC 3339 has it, in UTC: `2026-11-23T11:50:20Z`, with nanoseconds if wanted.
pub(crate) fn rfc3339(since_1970: Duration, nanoseconds: bool) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = match nanoseconds {
        true => format!(".{:09}", since_1970.subsec_nanos()),
        false => String::new(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of the so-manieth day after 1 January 1970.
fn date(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = 365 + u64::from(is_leap(year));
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "1970-01-01T00:00:00Z")]
    #[case(951_782_400, "2000-02-29T00:00:00Z")]
    #[case(1_709_251_199, "2024-02-29T23:59:59Z")]
    #[case(1_735_689_599, "2024-12-31T23:59:59Z")]
    #[case(4_107_542_400, "2100-03-01T00:00:00Z")]
    fn dates_are_right_around_leap_days(#[case] seconds: u64, #[case] text: &str) {
        assert_eq!(rfc3339(Duration::from_secs(seconds), false), text);
    }

    #[test]
    fn nanoseconds_have_nine_digits() {
        assert_eq!(rfc3339(Duration::new(1, 20), true), "1970-01-01T00:00:01.000000020Z");
    }
}
