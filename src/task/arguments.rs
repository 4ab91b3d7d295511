//! The command line, as Go's `flag` package reads it.

use std::ffi::OsString;

/// What the command line says. What it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// Say more in the log.
    pub(super) debug: bool,
    /// Print the version.
    pub(super) version: bool,
    /// Print what this runtime is and can do.
    pub(super) info: bool,
    /// The namespace whose containers these are.
    pub(super) namespace: String,
    /// The container.
    pub(super) id: String,
    /// Where the server is to listen, if not on descriptor 3.
    pub(super) socket: String,
    /// Where the server is to answer debuggers; it does not.
    pub(super) debug_socket: String,
    /// The container's bundle, if it is not the working directory.
    pub(super) bundle: String,
    /// The daemon's address.
    pub(super) address: String,
    /// The daemon's program, with which one may publish events.
    pub(super) publish_binary: String,
    /// What is to be done; `None` is to serve.
    pub(super) action: Option<String>,
}

/// The program ends at once, with this text on stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) text: String,
    /// 0 if somebody asked for it.
    pub(super) code: i32,
}

/// A flag's place in [`Arguments`].
enum Place<'a> {
    Switch(&'a mut bool),
    Value(&'a mut String),
}

/// Every flag, with what it takes and what it is for.
const FLAGS: [(&str, &str, &str); 11] = [
    ("address", " string", "address of the daemon"),
    ("bundle", " string", "path of the bundle, if it is not the working directory"),
    ("debug", "", "say more in the log"),
    ("debug-socket", " string", "taken for the sake of other shims, and not used"),
    ("id", " string", "id of the task"),
    ("info", "", "read options from stdin, print what this runtime is and can do, and exit"),
    ("namespace", " string", "namespace of the task"),
    ("publish-binary", " string", "program of the daemon that publishes events"),
    ("socket", " string", "path of the socket to serve, if it is not descriptor 3"),
    ("v", "", "print the version and exit"),
    ("version", "", "print the version and exit"),
];

impl Arguments {
    fn place(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "debug" => Place::Switch(&mut self.debug),
            "v" | "version" => Place::Switch(&mut self.version),
            "info" => Place::Switch(&mut self.info),
            "namespace" => Place::Value(&mut self.namespace),
            "id" => Place::Value(&mut self.id),
            "socket" => Place::Value(&mut self.socket),
            "debug-socket" => Place::Value(&mut self.debug_socket),
            "bundle" => Place::Value(&mut self.bundle),
            "address" => Place::Value(&mut self.address),
            "publish-binary" => Place::Value(&mut self.publish_binary),
            _ => return None,
        })
    }

    /// Understands `argv`, which has the program's own name first.
    pub(super) fn parse(argv: &[OsString]) -> Result<Arguments, Usage> {
        let program = argv.first().map_or("shim".into(), |name| name.to_string_lossy());
        let wrong =
            |reason: String| Usage { text: format!("{reason}\n{}", usage(&program)), code: 2 };
        let mut arguments = Arguments::default();
        let mut words = argv.iter().skip(1);
        while let Some(word) = words.next() {
            let word = word.to_str().ok_or_else(|| wrong(format!("{word:?} is not UTF-8")))?;
            if word == "--" {
                arguments.action = words.next().map(|action| action.to_string_lossy().into());
                break;
            }
            let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                arguments.action = Some(word.to_owned());
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag.starts_with(['-', '=']) {
                return Err(wrong(format!("bad flag syntax: {word}")));
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            match arguments.place(name) {
                Some(Place::Switch(switch)) => {
                    let text = value.unwrap_or("true");
                    *switch = boolean(text).ok_or_else(|| {
                        wrong(format!("invalid boolean value {text:?} for -{name}: parse error"))
                    })?;
                }
                Some(Place::Value(place)) => {
                    let next = || words.next().and_then(|next| next.to_str());
                    let needs = || wrong(format!("flag needs an argument: -{name}"));
                    *place = value.or_else(next).ok_or_else(needs)?.to_owned();
                }
                None if matches!(name, "h" | "help") => {
                    return Err(Usage { text: usage(&program), code: 0 });
                }
                None => return Err(wrong(format!("flag provided but not defined: -{name}"))),
            }
        }
        Ok(arguments)
    }
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn usage(program: &str) -> String {
    let mut text = format!("Usage of {program}:\n");
    for (name, takes, purpose) in FLAGS {
        text.push_str(&format!("  -{name}{takes}\n    \t{purpose}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, Usage> {
        let argv: Vec<OsString> =
            std::iter::once("shim").chain(words.iter().copied()).map(OsString::from).collect();
        Arguments::parse(&argv)
    }

    /// The command lines of containerd 1.6 to 2.3.
    #[rstest]
    #[case(&["-namespace", "ns", "-address", "/a", "-publish-binary", "/p", "-id", "c1", "start"])]
    #[case(&["--namespace", "ns", "--address=/a", "-publish-binary=/p", "--id=c1", "start"])]
    #[case(&["-id=x", "-id", "c1", "-namespace=ns", "-address", "/a", "-publish-binary", "/p",
        "--", "start", "-id", "x"])]
    #[case(&["-debug=false", "-namespace", "ns", "-address", "/a", "-publish-binary", "/p",
        "-id", "c1", "start", "-debug"])]
    fn command_lines_of_daemons(#[case] words: &[&str]) {
        let expected = Arguments {
            namespace: "ns".to_owned(),
            address: "/a".to_owned(),
            publish_binary: "/p".to_owned(),
            id: "c1".to_owned(),
            action: Some("start".to_owned()),
            ..Arguments::default()
        };
        assert_eq!(parse(words), Ok(expected));
    }

    #[rstest]
    #[case(&["-v"], Arguments { version: true, ..Arguments::default() })]
    #[case(&["--version"], Arguments { version: true, ..Arguments::default() })]
    #[case(&["-info"], Arguments { info: true, ..Arguments::default() })]
    #[case(&["-debug", "-bundle", "/b", "delete"], Arguments {
        debug: true,
        bundle: "/b".to_owned(),
        action: Some("delete".to_owned()),
        ..Arguments::default()
    })]
    #[case(&["-debug=T", "-socket", "-id", "-debug-socket", ""], Arguments {
        debug: true,
        socket: "-id".to_owned(),
        ..Arguments::default()
    })]
    #[case(&["-id=a=b"], Arguments { id: "a=b".to_owned(), ..Arguments::default() })]
    #[case(&["-"], Arguments { action: Some("-".to_owned()), ..Arguments::default() })]
    #[case(&["--"], Arguments::default())]
    #[case(&[], Arguments::default())]
    fn flags(#[case] words: &[&str], #[case] expected: Arguments) {
        assert_eq!(parse(words), Ok(expected));
    }

    #[rstest]
    #[case(&["-root", "/x"], "flag provided but not defined: -root\n")]
    #[case(&["-id"], "flag needs an argument: -id\n")]
    #[case(&["---id"], "bad flag syntax: ---id\n")]
    #[case(&["-=id"], "bad flag syntax: -=id\n")]
    #[case(&["-debug=yes"], "invalid boolean value \"yes\" for -debug: parse error\n")]
    fn what_is_refused(#[case] words: &[&str], #[case] reason: &str) {
        let refused = parse(words).unwrap_err();
        assert_eq!(refused.code, 2);
        assert!(refused.text.starts_with(&format!("{reason}Usage of shim:\n")), "{refused:?}");
    }

    #[rstest]
    #[case(&["-h"])]
    #[case(&["-id", "c1", "--help", "-nonsense"])]
    fn help(#[case] words: &[&str]) {
        let usage = parse(words).unwrap_err();
        assert_eq!(usage.code, 0);
        for (flag, ..) in FLAGS {
            assert!(usage.text.contains(&format!("\n  -{flag}")), "{flag}: {}", usage.text);
        }
    }
}
