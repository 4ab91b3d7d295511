//! Error numbers of Linux, as plain data.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An error number of a system call (`errno(3)`); compares by value, prints as its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $message:literal;)*) => {
        impl Errno {
            $(#[doc = $message] pub const $name: Errno = Errno($number);)*

            /// Every error number that has a name here.
            pub const ALL: &[Errno] = &[$(Errno::$name),*];

            /// The symbolic name, as `ENOENT`; `EUNKNOWN` for a number that has none here.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Errno::$name => stringify!($name),)*
                    _ => "EUNKNOWN",
                }
            }

            /// What the number means, in the lower-case words that Go's `syscall.Errno` uses.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self {
                    $(Errno::$name => $message,)*
                    _ => "unknown error",
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted system call";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "argument list too long";
    ENOEXEC = 8, "exec format error";
    EBADF = 9, "bad file descriptor";
    ECHILD = 10, "no child processes";
    EAGAIN = 11, "resource temporarily unavailable";
    ENOMEM = 12, "cannot allocate memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "device or resource busy";
    EEXIST = 17, "file exists";
    EXDEV = 18, "invalid cross-device link";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in system";
    EMFILE = 24, "too many open files";
    ENOTTY = 25, "inappropriate ioctl for device";
    ETXTBSY = 26, "text file busy";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space left on device";
    ESPIPE = 29, "illegal seek";
    EROFS = 30, "read-only file system";
    EMLINK = 31, "too many links";
    EPIPE = 32, "broken pipe";
    ENAMETOOLONG = 36, "file name too long";
    ENOSYS = 38, "function not implemented";
    ENOTEMPTY = 39, "directory not empty";
    ELOOP = 40, "too many levels of symbolic links";
    EOVERFLOW = 75, "value too large for defined data type";
    ENOTSOCK = 88, "socket operation on non-socket";
    EMSGSIZE = 90, "message too long";
    EOPNOTSUPP = 95, "operation not supported";
    EADDRINUSE = 98, "address already in use";
    ECONNABORTED = 103, "software caused connection abort";
    ECONNRESET = 104, "connection reset by peer";
    ENOBUFS = 105, "no buffer space available";
    EISCONN = 106, "transport endpoint is already connected";
    ENOTCONN = 107, "transport endpoint is not connected";
    ETOOMANYREFS = 109, "too many references: cannot splice";
    ETIMEDOUT = 110, "connection timed out";
    ECONNREFUSED = 111, "connection refused";
    EDQUOT = 122, "disk quota exceeded";
}

impl Errno {
    /// The number with that symbolic name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Errno> {
        Errno::ALL.iter().copied().find(|errno| errno.name() == name)
    }
}

/// `no such file or directory (ENOENT)`: the words users know, and the name they can look up.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "EUNKNOWN" => write!(f, "error number {}", self.0),
            name => write!(f, "{} ({name})", self.message()),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "EUNKNOWN" => write!(f, "Errno({})", self.0),
            name => f.write_str(name),
        }
    }
}

impl std::error::Error for Errno {}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Errno {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Errno, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = || text.strip_prefix("Errno(")?.strip_suffix(')')?.parse().ok().map(Errno);
        Errno::from_name(&text)
            .or_else(number)
            .ok_or_else(|| de::Error::custom(format_args!("{text} is no error number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_errno_survives_its_text_form() {
        for errno in Errno::ALL.iter().copied().chain([Errno(4095)]) {
            let text = serde_json::to_string(&errno).unwrap();
            assert_eq!(serde_json::from_str::<Errno>(&text).unwrap(), errno, "{text}");
        }
        assert!(serde_json::from_str::<Errno>("\"ENONSENSE\"").is_err());
    }

    #[test]
    fn an_errno_says_its_meaning_and_its_name() {
        assert_eq!(Errno::ENXIO.to_string(), "no such device or address (ENXIO)");
        assert_eq!(Errno(4095).to_string(), "error number 4095");
    }
}
