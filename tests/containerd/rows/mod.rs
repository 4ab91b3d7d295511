//! The rows, by topic.

mod checkpoint;
mod control;
mod crashes;
mod life;
mod many;
mod numbers;
mod stdio;
mod terminal;

use crate::table::Row;

pub(crate) fn all() -> Vec<Row> {
    let topics = [
        life::rows(),
        stdio::rows(),
        terminal::rows(),
        control::rows(),
        numbers::rows(),
        checkpoint::rows(),
        crashes::rows(),
        many::rows(),
    ];
    topics.into_iter().flatten().collect()
}
