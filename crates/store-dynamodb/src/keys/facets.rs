//! The values that exact filters of lists compare.

use std::collections::BTreeSet;

use onerun_domain::{BatchId, Metadata, MonitorId, Name, sha256_hex};
use onerun_store::ExactFilter;

/// The hexadecimal digits of a facet's hash: 128 bits.
const FACET: usize = 32;

fn facet(parts: &[&str]) -> String {
    let mut hash = sha256_hex(parts.iter().copied());
    hash.truncate(FACET);
    hash
}

/// The values of exact filters on a name and metadata. They are hashes, so all have the same
/// length.
pub(crate) fn facets(name: &Name, metadata: &Metadata) -> BTreeSet<String> {
    let texts = metadata.texts().map(|(key, text)| facet(&["metadata", key, &text]));
    texts.chain([facet(&["name", name.as_str()])]).collect()
}

/// The values of exact filters on what created a simulation.
pub(crate) fn origin_facets(batch: Option<&BatchId>, monitor: Option<&MonitorId>) -> Vec<String> {
    let batch = batch.map(|id| facet(&["batch", id.as_str()]));
    batch.into_iter().chain(monitor.map(|id| facet(&["monitor", id.as_str()]))).collect()
}

/// The facets that match a filter.
pub(crate) fn wanted(filter: &ExactFilter) -> Vec<String> {
    let texts = filter.metadata.iter().map(|(key, text)| facet(&["metadata", key, text]));
    texts.chain(filter.name.as_deref().map(|name| facet(&["name", name]))).collect()
}
