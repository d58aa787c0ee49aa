//! Lists: which part of one is asked for, and how it is printed.

use clap::{Args, value_parser};
use onerun_client::{
    Error, Verbatim,
    resource::{Page, PageRequest, Start},
};

use crate::{output, text};

/// The most that the API gives at once.
pub(crate) const PAGE: u32 = 100;

/// Which part of a list.
#[derive(Clone, Debug, Args)]
pub(crate) struct Paging {
    /// How many at the most.
    #[arg(
        long, value_name = "N", default_value_t = PAGE, value_parser = value_parser!(u32).range(1..=i64::from(PAGE)),
    )]
    limit: u32,
    /// How many to pass over.
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Where an earlier page ended: the `next_cursor` of its JSON.
    #[arg(long, conflicts_with = "offset")]
    cursor: Option<String>,
    /// All of them, however many requests it takes.
    #[arg(long, conflicts_with_all = ["limit", "offset", "cursor"])]
    pub(crate) all: bool,
}

impl Paging {
    pub(crate) fn first(&self) -> PageRequest {
        let start = self.cursor.clone().map_or(Start::Offset(self.offset), Start::Cursor);
        PageRequest { limit: self.limit, start }
    }

    /// Says that there is more, and how to get it.
    pub(crate) fn hint(&self, next: Option<PageRequest>) {
        let next = match next.map(|next| next.start) {
            // A cursor is quoted by no shell's rules here, and needs none: it has letters, digits, `-` and `_`.
            Some(Start::Cursor(cursor)) => format!(", or `--cursor {}`", text::plain(&cursor)),
            Some(Start::Offset(offset)) => format!(", or `--offset {offset}`"),
            None => return,
        };
        output::remark(&format!("More follow: `--all`{next}.\n"));
    }
}

/// A page of a list, each entry and the whole with the JSON that it was read from.
type Answer<T> = Result<Verbatim<Page<Verbatim<T>>>, Error>;

/// Prints what `list` answers: the JSON to the byte, or the table that is made of it.
pub(crate) async fn print<T>(
    paging: &Paging,
    json: bool,
    id: fn(&T) -> &str,
    list: impl AsyncFn(PageRequest) -> Answer<T>,
    table: impl AsyncFnOnce(&[Verbatim<T>]) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    if paging.all {
        let entries = all(id, list).await?;
        return if json {
            output::print_json(&format!(
                "{{\"data\":{},\"has_more\":false,\"next_cursor\":null}}",
                array(&entries)
            ))
        } else {
            output::print(&table(&entries).await?)
        };
    }
    let request = paging.first();
    let page = list(request.clone()).await?;
    if json {
        return output::print_json(page.json());
    }
    output::print(&table(&page.data).await?)?;
    paging.hint(page.following(&request));
    Ok(())
}

/// All of a list, each entry once: from a server without cursors, one that is made meanwhile moves the others to later
/// places.
pub(crate) async fn all<T>(
    id: fn(&T) -> &str,
    list: impl AsyncFn(PageRequest) -> Answer<T>,
) -> Result<Vec<Verbatim<T>>, Error> {
    let mut entries: Vec<Verbatim<T>> = Vec::new();
    let mut request = PageRequest { limit: PAGE, start: Start::Offset(0) };
    loop {
        let page = list(request.clone()).await?.into_value();
        let next = page.following(&request);
        for entry in page.data {
            // Those that moved are the last ones that were read.
            if !entries.iter().rev().take(PAGE as usize).any(|known| id(known) == id(&entry)) {
                entries.push(entry);
            }
        }
        match next {
            Some(next) => request = next,
            None => return Ok(entries),
        }
    }
}

/// The JSON of some entries, as they were received.
pub(crate) fn array<'a, T: 'a>(entries: impl IntoIterator<Item = &'a Verbatim<T>>) -> String {
    format!("[{}]", entries.into_iter().map(Verbatim::json).collect::<Vec<_>>().join(","))
}
