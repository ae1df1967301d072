//! What a resolution would pay, before anybody decides it.

use bellwether_domain::market::{Market, MarketStatus, Resolution};
use bellwether_domain::money::{Credits, Overflow};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{MarketKey, Page, PageRequest, PositionFilter, PositionInMarket, PositionSort};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::settlement;

use super::change::weights_of;
use super::{Verdict, get_market, require};
use crate::{Caller, Context, Error};

/// What a resolution would pay.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolutionPreview {
    /// The market, as it would be decided.
    pub market: Market,
    /// All that would be paid, in mills: the collateral.
    pub total: Credits,
    /// The part of it that the market maker would get, in mills.
    pub to_maker: Credits,
    /// Positions that would be paid: a page of all, or the caller's own where it may not see the others.
    pub positions: Page<PositionInMarket>,
    /// What each of these would get, in mills.
    pub amounts: Vec<Credits>,
}

/// What a resolution of the market would pay to whom: for whoever may resolve it, and of others' positions for
/// whoever may see the holders. Decides nothing; it is true as long as nobody trades. Refused where the market is
/// decided already.
pub async fn preview_resolution(
    ctx: &Context,
    caller: Caller,
    key: &MarketKey,
    verdict: &Verdict,
    page: &PageRequest<PositionSort>,
) -> Result<ResolutionPreview, Error> {
    let mut market = get_market(ctx, key).await?;
    require(Permission::ResolveMarket, caller, &market)?;
    if market.resolution.is_some() {
        let (status, wanted) = (market.status, MarketStatus::Resolved);
        return Err(Refusal::WrongMarketStatus { status, wanted }.into());
    }
    let weights = weights_of(&market, verdict)?;
    let decided_by = Some(caller.user);
    market.resolution = Some(Resolution { weights, decided_by, decided_at: ctx.clock.now(), reason: None });
    let sees_all = caller.may(Permission::ReadHolders, market.creator == caller.user);
    let filter = PositionFilter { user: (!sees_all).then_some(caller.user), market: Some(market.id) };
    let positions = ctx.queries.positions(&filter, page).await?;
    let collateral = ctx.queries.account(market.collateral()).await?;
    let amounts = positions.items.iter().map(|row| settlement::payout_of(&market, &row.position));
    let amounts = amounts.collect::<Result<Vec<_>, Overflow>>().map_err(Refusal::from)?;
    let to_maker = settlement::owed_to_maker(&market).map_err(Refusal::from)?;
    let total = collateral.map_or(Credits::ZERO, |account| account.balance);
    Ok(ResolutionPreview { market, total, to_maker, positions, amounts })
}
