//! Who trades best.

use bellwether_domain::ports::{Direction, Queries, Sealer, StandingSort};
use bellwether_usecases::caching::leaderboard_key;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::Fields;
use crate::paging::{Paging, Wanted};
use crate::remembered::{Answer, remembered};
use crate::wire::score::{FIELDS, StandingWire};
use crate::wire::view::View;

/// By what, as it is asked for, and which end is the best.
const BY: [(&str, StandingSort, Direction); 2] =
    [("profit", StandingSort::Profit, Direction::Descending), ("brier", StandingSort::Brier, Direction::Ascending)];

/// `GET /leaderboard`: the same for everybody who may see users.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    call.caller().await?;
    let (by, wanted, view) = call.query(asked)?;
    let is_front = wanted.is_front() && view.is_plain();
    let paging = wanted.bind("leaderboard", &(), call.sealer())?;
    let app = call.app().clone();
    if is_front {
        let load = |ctx: bellwether_usecases::Context| async move {
            page(&*ctx.queries, &paging, &view, app.sealer()).await.map(Some)
        };
        let reply = remembered(&call, leaderboard_key(by), load).await?;
        return reply.ok_or_else(|| Fault::internal("a leaderboard was remembered as not there"));
    }
    let lists = call.lists();
    let load = async move { page(&*lists, &paging, &view, app.sealer()).await };
    call.app().run(load).await.map(Answer::reply)
}

/// By what, which page, and which fields.
pub(crate) fn asked(query: &Fields<'_>) -> Option<(StandingSort, Wanted<StandingSort>, View)> {
    let [profit, _] = BY;
    let by = query.or("by", profit, |n| n.one_of(&BY, |(name, ..)| name));
    let wanted = Wanted::read_unsorted(query);
    let view = View::read(query, FIELDS, &[]);
    let (_, by, best) = by?;
    Some((by, wanted?.sorted_by(vec![(by, best)]), view?))
}

async fn page(
    queries: &dyn Queries,
    paging: &Paging<StandingSort>,
    view: &View,
    sealer: &dyn Sealer,
) -> Result<Answer, Fault> {
    let page = queries.standings(&paging.request).await?;
    let shown: Vec<StandingWire<'_>> = page.items.iter().map(StandingWire::of).collect();
    Answer::page(paging.describe(&page, |standing| standing.score.user.0, sealer), view.show(&shown)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::read_query;

    #[test]
    fn asks_for_everything_before_it_gives_up() {
        let fault = read_query("by=luck&limit=0&offset=x&fields=userId", asked).unwrap_err();
        let fields: Vec<_> = fault.details().iter().filter_map(|detail| detail.field.as_deref()).collect();
        assert_eq!((fault.status().as_u16(), fields), (422, vec!["by", "limit", "offset"]));
        let (by, wanted, _) = read_query("by=brier&limit=5", asked).unwrap();
        assert_eq!((by, wanted.sort()), (StandingSort::Brier, &[(StandingSort::Brier, Direction::Ascending)][..]));
    }
}
