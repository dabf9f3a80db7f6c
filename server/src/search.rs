//! Searching in all logs and builds, for HTTP and pages alike.

use store::search::wanted::Wanted;
use tokio::sync::Semaphore;
use wire::{
    Authority, Problem,
    search::{SearchPage, SearchQuery},
};

use crate::{core::Core, groups, queries::store_problem};

/// Searches at once in this process: each reads for up to two seconds, and other readers must find room beside them.
const SEARCHES_AT_ONCE: usize = 2;
static SEARCHES: Semaphore = Semaphore::const_new(SEARCHES_AT_ONCE);

/// What is found, newest first.
pub(crate) async fn search(core: &Core, who: &Authority, query: &SearchQuery) -> Result<SearchPage, Problem> {
    let wanted = Wanted::parse(&query.q).map_err(|sentence| Problem::new(400, "Invalid parameter", sentence))?;
    // Never closed.
    let _turn = SEARCHES.acquire().await.ok();
    let mut page = core.store.search(&wanted, query, who.grants()).await.map_err(store_problem)?;
    page.building = !core.store.index_is_whole().await.map_err(store_problem)?;
    page.behind = groups::lag(core, projections::search::GROUP).await.map_err(store_problem)?;
    Ok(page)
}
