//! Paging options and the printing of lists.

use clap::{Args, value_parser};
use onerun_client::{
    Error, Verbatim,
    resource::{Page, PageRequest, Start},
};

use crate::{output, text};

/// The largest page that the API returns, in entries.
pub(crate) const PAGE: u32 = 100;

/// Which part of a list is requested.
#[derive(Clone, Debug, Args)]
pub(crate) struct Paging {
    /// Print at most this many.
    #[arg(
        long, value_name = "N", default_value_t = PAGE, value_parser = value_parser!(u32).range(1..=i64::from(PAGE)),
    )]
    limit: u32,
    /// Skip this many.
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Continue after an earlier page: the `next_cursor` of its JSON.
    #[arg(long, conflicts_with = "offset")]
    cursor: Option<String>,
    /// Print all of them, with as many requests as necessary.
    #[arg(long, conflicts_with_all = ["limit", "offset", "cursor"])]
    pub(crate) all: bool,
}

impl Paging {
    pub(crate) fn first(&self) -> PageRequest {
        let start = self.cursor.clone().map_or(Start::Offset(self.offset), Start::Cursor);
        PageRequest { limit: self.limit, start }
    }
}

/// Options of a list.
#[derive(Clone, Debug, Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    paging: Paging,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints how to get the next page, if there is one.
pub(crate) fn print_next(next: Option<PageRequest>) {
    let next = match next.map(|next| next.start) {
        // A cursor has only letters, digits, `-` and `_`, so a shell needs no quotes.
        Some(Start::Cursor(cursor)) => format!(", or `--cursor {}`", text::plain(&cursor)),
        Some(Start::Offset(offset)) => format!(", or `--offset {offset}`"),
        None => return,
    };
    output::print_note(&format!("There are more: use `--all`{next}.\n"));
}

/// A page of a list. The page and each entry carry the JSON that they were parsed from.
type Answer<T> = Result<Verbatim<Page<Verbatim<T>>>, Error>;

/// Prints a list: the API's JSON byte for byte, or a table.
pub(crate) async fn print<T>(
    Listing { paging, json }: &Listing,
    id: fn(&T) -> &str,
    list: impl AsyncFn(PageRequest) -> Answer<T>,
    table: impl AsyncFnOnce(&[Verbatim<T>]) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    if paging.all {
        let entries = all(id, list).await?;
        return if *json {
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
    if *json {
        return output::print_json(page.json());
    }
    output::print(&table(&page.data).await?)?;
    print_next(page.following(&request));
    Ok(())
}

/// The ids of the entries with exactly this name, in the order of the list. `id_and_name` are those of an entry.
pub(crate) async fn ids_named<T>(
    name: &str,
    id_and_name: fn(&T) -> (&str, &str),
    list: impl AsyncFn(PageRequest) -> Answer<T>,
) -> Result<Vec<String>, Error> {
    let entries = all(|entry| id_and_name(entry).0, list).await?;
    let named = entries.iter().map(|entry| id_and_name(entry)).filter(|(_, found)| *found == name);
    Ok(named.map(|(id, _)| id.to_owned()).collect())
}

/// Reads a whole list and removes duplicates: without cursors, an entry that is created meanwhile
/// moves the others to later pages.
pub(crate) async fn all<T>(
    id: impl Fn(&T) -> &str,
    list: impl AsyncFn(PageRequest) -> Answer<T>,
) -> Result<Vec<Verbatim<T>>, Error> {
    let mut entries: Vec<Verbatim<T>> = Vec::new();
    let mut request = PageRequest { limit: PAGE, start: Start::Offset(0) };
    loop {
        let page = list(request.clone()).await?.into_value();
        let next = page.following(&request);
        for entry in page.data {
            // Only entries of the last page can appear again.
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

/// A JSON array of entries, each byte for byte as received.
pub(crate) fn array<'a, T: 'a>(entries: impl IntoIterator<Item = &'a Verbatim<T>>) -> String {
    format!("[{}]", entries.into_iter().map(Verbatim::json).collect::<Vec<_>>().join(","))
}
