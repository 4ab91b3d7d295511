//! The pid file that a runtime writes.

use crate::host::Pid;

/// Reads the contents of a pid file: one decimal number above 0, with or without white space
/// behind it. runc writes no newline (`--pid-file` of `runc-run(8)`); others do.
///
/// # Errors
/// What is wrong with the contents.
pub fn parse_pid(contents: &[u8]) -> Result<Pid, String> {
    let text = contents.trim_ascii_end();
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
    match number {
        Some(number) if number > 0 && text.iter().all(u8::is_ascii_digit) => Ok(Pid(number)),
        _ if text.is_empty() => Err("the file is empty".to_owned()),
        _ => {
            let start = &contents[..contents.len().min(40)];
            Err(format!("\"{}\" is no process id", start.escape_ascii()))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"13797", Ok(Pid(13797)))]
    #[case(b"13797\n", Ok(Pid(13797)))]
    #[case(b"1", Ok(Pid(1)))]
    #[case(b"", Err("the file is empty"))]
    #[case(b"\n", Err("the file is empty"))]
    #[case(b"0", Err("\"0\" is no process id"))]
    #[case(b"-5", Err("\"-5\" is no process id"))]
    #[case(b"+5", Err("\"+5\" is no process id"))]
    #[case(b" 5", Err("\" 5\" is no process id"))]
    #[case(b"12 34", Err("\"12 34\" is no process id"))]
    #[case(b"99999999999999999999", Err("\"99999999999999999999\" is no process id"))]
    #[case(b"\xff\"", Err("\"\\xff\\\"\" is no process id"))]
    fn what_a_pid_file_may_hold(#[case] contents: &[u8], #[case] result: Result<Pid, &str>) {
        assert_eq!(parse_pid(contents), result.map_err(str::to_owned));
    }
}
