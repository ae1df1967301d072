//! An order that is tried out: executed on the loaded state, and nothing kept.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bellwether_domain::exchange::{Preview, Stop};
use bellwether_domain::order::PlaceOrder;
use bellwether_domain::ports::{StoreError, UnitOfWork};
use bellwether_domain::refusal::Refusal;

use super::group::moment;
use super::load::{self, Begun, Depths, First};
use super::{Command, Quote};
use crate::atomically::{Script, Step};
use crate::{Context, Error};

/// The script of a quote.
pub(super) struct QuoteScript {
    order: PlaceOrder,
    depths: Depths,
}

impl QuoteScript {
    pub(super) fn of(order: PlaceOrder) -> Self {
        Self { order, depths: Depths::default() }
    }
}

#[async_trait]
impl Script for QuoteScript {
    type Output = Quote;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Quote>, Error> {
        let command = Command::Place(self.order.clone());
        let First { active, markets, named, .. } = load::first(unit, &[&command], Vec::new()).await?;
        if !active.contains(&self.order.user) {
            return Err(Refusal::UserInactive.into());
        }
        let moment = moment(ctx);
        let begun = Begun { markets, named, depths: &self.depths, keys: BTreeSet::new(), turn: None };
        let state = load::rest(unit, &[&command], begun, moment.now).await?;
        match state.preview(&self.order, &mut ctx.ids.fresh(), moment) {
            Ok(preview) => Ok(Step::Discard(quote_of(preview))),
            Err(Stop::Refused(refusal)) => Err(refusal.into()),
            Err(Stop::NeedsDepth { market, book, side }) => {
                self.depths.deepen(market, book, side);
                Ok(Step::Again)
            }
            Err(stop @ Stop::NotLoaded(_)) => Err(StoreError::Corrupt(stop.to_string()).into()),
        }
    }
}

fn quote_of(preview: Preview) -> Quote {
    let Preview { executed, available, position, market } = preview;
    let price_after = market.prices().get(executed.order.outcome.index()).copied().flatten();
    Quote { placed: executed.into(), balance_after: available, position_after: position, price_after, market }
}
