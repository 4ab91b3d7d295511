//! Bytes in which a missing, doubled or misplaced one shows.

use wavetank::host::{self, Fd, Host};

/// Length of a line of the pattern.
const LINE: u64 = 16;

/// A piece of the endless pattern: lines of 16 bytes, each the offset of its own first byte in
/// decimal, as `000000000000032\n`.
#[must_use]
pub fn pattern(offset: u64, len: usize) -> Vec<u8> {
    let skipped = usize::try_from(offset % LINE).unwrap_or_default();
    let lines = (0..).map(|line| format!("{:015}\n", offset - offset % LINE + line * LINE));
    let mut bytes = Vec::with_capacity(len + 2 * 16);
    for line in lines {
        if bytes.len() >= skipped + len {
            break;
        }
        bytes.extend_from_slice(line.as_bytes());
    }
    bytes.drain(..skipped);
    bytes.truncate(len);
    bytes
}

/// Writes the first `count` bytes of the pattern.
pub(crate) fn write<H: Host>(host: &mut H, fd: Fd, count: u64) -> host::Result<()> {
    const PIECE: u64 = 16 * 1024;
    let mut offset = 0;
    while offset < count {
        let len = usize::try_from(PIECE.min(count - offset)).unwrap_or_default();
        host::write_all(host, fd, &pattern(offset, len))?;
        offset += PIECE;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_pattern_fit_together() {
        let whole = pattern(0, 100);
        assert!(whole.starts_with(b"000000000000000\n000000000000016\n000000000000032\n"));
        for cut in 0..=100 {
            let pieces = [pattern(0, cut), pattern(cut as u64, 100 - cut)].concat();
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }
}
