//! Lists of lower directories that are too long for one `mount(2)`.

use std::path::{Path, PathBuf};

/// What is free of the page that `mount(2)` takes data in, besides the options themselves.
const MARGIN: usize = 512;

const LOWER: &str = "lowerdir=";

/// Whether the options come so near to a page that they have to be made shorter.
pub(super) fn is_long(options: &[String], page: usize) -> bool {
    options.iter().map(String::len).sum::<usize>() + MARGIN >= page
}

/// The lower directories; `None` if there are none, or some character of a path is escaped.
pub(super) fn lower(options: &[String]) -> Option<Vec<PathBuf>> {
    lower_directories(options).map(|(_, list)| list)
}

/// Puts other directories in the place of the lower ones.
pub(super) fn replace_lower(options: &mut [String], list: &[PathBuf]) {
    let list: Vec<_> = list.iter().map(|path| path.to_string_lossy()).collect();
    let old = options.iter_mut().find(|option| option.starts_with(LOWER));
    old.into_iter().for_each(|old| *old = format!("{LOWER}{}", list.join(":")));
}

/// Replaces the lower directories by paths from the lowest directory that has all of them in it,
/// and gives that directory; the mount has to be made from there. `None`, and nothing is changed:
/// there is no such directory but `/`, or they are written in a way that cannot be cut.
pub(super) fn shorten(options: &mut [String]) -> Option<PathBuf> {
    let (place, list) = lower_directories(options)?;
    let directory = common_parent(&list)?;
    let relative = list.iter().map(|path| path.strip_prefix(&directory).ok()?.to_str());
    let relative = relative.collect::<Option<Vec<_>>>()?.join(":");
    *options.get_mut(place)? = format!("{LOWER}{relative}");
    Some(directory)
}

/// The lower directories, and which option tells of them. `None` also if some character of a path
/// is escaped.
fn lower_directories(options: &[String]) -> Option<(usize, Vec<PathBuf>)> {
    let list = |option: &String| option.strip_prefix(LOWER).map(str::to_owned);
    let (place, list) =
        options.iter().enumerate().find_map(|(place, option)| Some((place, list(option)?)))?;
    if list.contains('\\') {
        return None;
    }
    Some((place, list.split(':').map(PathBuf::from).collect()))
}

/// The lowest directory that all are somewhere below of.
fn common_parent(paths: &[PathBuf]) -> Option<PathBuf> {
    let (first, others) = paths.split_first()?;
    let mut common = first.parent()?;
    for path in others {
        let parent = path.parent()?;
        common = common.ancestors().find(|ancestor| parent.starts_with(ancestor))?;
    }
    let is_useful = common.is_absolute() && common != Path::new("/");
    is_useful.then(|| common.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ROOT: &str = "/var/lib/containerd/snapshots";

    #[rstest]
    #[case("lowerdir=/s/2/fs:/s/1/fs", Some(("/s", "2/fs:1/fs")))]
    #[case("lowerdir=/s/12/fs:/s/1/fs:/s/113/fs", Some(("/s", "12/fs:1/fs:113/fs")))]
    #[case("lowerdir=/s/1:/s/1/fs", Some(("/s", "1:1/fs")))]
    #[case("lowerdir=/a/b/c:/a/b/c", Some(("/a/b", "c:c")))]
    #[case("lowerdir=/a/b", Some(("/a", "b")))]
    #[case("lowerdir=/a/1:/b/1", None)]
    #[case("lowerdir=/a:/b", None)]
    #[case("lowerdir=/s/1/fs::/s/2/fs", None)]
    #[case("lowerdir=s/1:s/2", None)]
    #[case("lowerdir=/s/a\\:b:/s/c", None)]
    #[case("lowerdir=", None)]
    #[case("lowerdir=/", None)]
    #[case("upperdir=/s/1", None)]
    fn lower_directories_are_told_from_where_they_all_are(
        #[case] option: &str,
        #[case] expected: Option<(&str, &str)>,
    ) {
        let mut options = vec!["index=off".to_owned(), option.to_owned(), "workdir=/w".to_owned()];
        let before = options.clone();
        let directory = shorten(&mut options);
        match expected {
            Some((parent, list)) => {
                assert_eq!(directory, Some(PathBuf::from(parent)));
                assert_eq!(options[1], format!("lowerdir={list}"));
                assert_eq!((&options[0], &options[2]), (&before[0], &before[2]));
            }
            None => assert_eq!((directory, options), (None, before)),
        }
    }

    #[test]
    fn a_hundred_layers_fit_in_a_page() {
        let list = (0..100).map(|n| format!("{ROOT}/{n}/fs")).collect::<Vec<_>>().join(":");
        let mut options = vec![format!("lowerdir={list}")];
        assert!(is_long(&options, 4096));
        assert_eq!(shorten(&mut options), Some(PathBuf::from(ROOT)));
        assert!(!is_long(&options, 4096));
    }

    #[test]
    fn long_is_what_leaves_less_than_512_bytes_of_the_page() {
        let options = |length: usize| ["x".repeat(length - 5), "12345".to_owned()];
        assert!(!is_long(&options(4096 - 513), 4096));
        assert!(is_long(&options(4096 - 512), 4096));
    }
}
