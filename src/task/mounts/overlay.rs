//! Lists of lower directories that are too long for one `mount(2)`.

use std::path::{Path, PathBuf};

/// What is free of the page that `mount(2)` takes data in, besides the options themselves.
const MARGIN: usize = 512;

/// Whether the options come so near to a page that they have to be made shorter.
pub(super) fn is_long(options: &[String], page: usize) -> bool {
    options.iter().map(String::len).sum::<usize>() + MARGIN >= page
}

/// Replaces the lower directories by paths from the lowest directory that has all of them in it,
/// and gives that directory; the mount has to be made from there. `None`, and nothing is changed:
/// there is no such directory but `/`, or they are written in a way that cannot be cut.
pub(super) fn shorten(options: &mut [String]) -> Option<PathBuf> {
    let (place, list) = lower_directories(options)?;
    let directory = common_parent(&list)?;
    let relative = list.iter().map(|path| path.strip_prefix(&directory).ok()?.to_str());
    let relative = relative.collect::<Option<Vec<_>>>()?.join(":");
    *options.get_mut(place)? = format!("lowerdir={relative}");
    Some(directory)
}

/// The lower directories, and which option tells of them. `None` also if some character of a path
/// is escaped.
fn lower_directories(options: &[String]) -> Option<(usize, Vec<PathBuf>)> {
    let list = |option: &String| option.strip_prefix("lowerdir=").map(str::to_owned);
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
