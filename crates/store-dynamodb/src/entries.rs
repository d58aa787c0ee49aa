//! Entries of lists, as they are written.
//!
//! An entry is an item whose sort key is the order of a list. It names its row, and has the attributes that the list
//! filters by. It is written in the transaction that writes the row, and moves when its text changes.

use jiff::Timestamp;
use onerun_domain::Name;

use crate::{
    item::{self, ROW},
    keys::{self, Key},
    query::Index,
    write::Write,
};

/// The entry of a row in the list of a partition. `text` sorts, and is unique in the list.
pub(crate) fn entry(
    what: &'static str,
    partition: impl Into<String>,
    index: Index,
    text: &str,
    row: impl Into<String>,
) -> Write {
    let key = Key { partition: partition.into(), sort: index.sort_key(text) };
    Write::put_bare(what, key).set(ROW, item::text(row))
}

/// The two entries of a row that is listed by time of creation and by name. `row` is its sort key, and `kind` is what
/// this begins with: another one for each list in the partition.
pub(crate) fn named(
    what: &'static str,
    partition: &str,
    kind: &str,
    id: &str,
    created_at: Timestamp,
    name: &Name,
) -> [Write; 2] {
    named_in(kind, what, partition, kind, id, created_at, name)
}

/// [`named`] in another list of the partition, whose texts begin with `list`.
pub(crate) fn named_in(
    list: &str,
    what: &'static str,
    partition: &str,
    kind: &str,
    id: &str,
    created_at: Timestamp,
    name: &Name,
) -> [Write; 2] {
    let (created, folded) = (keys::time(created_at), keys::fold(name.as_str()));
    let entry = |index, text: String| entry(what, partition, index, &text, format!("{kind}{id}"));
    [
        entry(Index::Made, format!("{list}{created}#{id}")),
        entry(Index::Name, format!("{list}{folded}{}{created}#{id}", keys::END)),
    ]
}

/// The writes that replace a row's entries by those that it has after a change.
pub(crate) fn replace(before: &[Write], after: impl Into<Vec<Write>>) -> Vec<Write> {
    let after = after.into();
    let is_gone = |one: &&Write| after.iter().all(|other| other.key() != one.key());
    let gone = before.iter().filter(is_gone).map(delete);
    let gone: Vec<Write> = gone.collect();
    gone.into_iter().chain(after.into_iter().filter(|one| !before.contains(one))).collect()
}

/// The write that deletes an entry.
pub(crate) fn delete(entry: &Write) -> Write {
    Write::delete(entry.what(), entry.key().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, status: &str) -> Write {
        entry("agent", "project", Index::Name, text, "agent#a").set("status", item::text(status))
    }

    #[test]
    fn moved_entry_is_deleted_and_an_equal_one_stays() {
        let made = || entry("agent", "project", Index::Made, "agent#1", "agent#a");
        let before = [made(), named("b", "new")];
        assert_eq!(replace(&before, before.to_vec()), []);
        let moved = named("c", "new");
        assert_eq!(replace(&before, vec![made(), moved.clone()]), [delete(&before[1]), moved]);
        let changed = named("b", "old");
        assert_eq!(replace(&before, vec![made(), changed.clone()]), [changed]);
        assert_eq!(replace(&before, Vec::new()), [delete(&before[0]), delete(&before[1])]);
    }
}
