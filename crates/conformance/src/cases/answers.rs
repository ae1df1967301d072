//! Answers kept for idempotency keys.

use anyhow::ensure;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{AnswerKey, Changes, KeptAnswer};
use jiff::Timestamp;

use crate::fixtures::{at, nth};
use crate::world::World;

fn answer(user: UserId, route: &str, key: &str, seconds: i64) -> anyhow::Result<KeptAnswer> {
    Ok(KeptAnswer {
        key: AnswerKey { user, route: route.to_owned(), key: key.to_owned() },
        fingerprint: [3; 32],
        status: 200,
        location: None,
        body: key.to_owned(),
        created_at: at(seconds)?,
    })
}

/// Exactly the keys that exist: user, route and key belong together.
pub async fn kept_answers_are_found_by_their_whole_key(world: World) -> anyhow::Result<()> {
    let (first, second) = (UserId(world.id()), UserId(world.id()));
    let kept = vec![
        answer(first, "a", "x", 0)?,
        answer(first, "b", "y", 0)?,
        answer(second, "a", "y", 0)?,
        answer(second, "b", "x", 0)?,
    ];
    world.write(&Changes { answers: kept.clone(), ..Changes::default() }).await?;
    let mut unit = world.begin().await?;
    let wanted = [
        answer(first, "a", "y", 0)?.key,
        nth(&kept, 3)?.key.clone(),
        answer(first, "a", "X", 0)?.key,
        nth(&kept, 0)?.key.clone(),
    ];
    let mut found = unit.answers().find(&wanted).await?;
    unit.rollback().await?;
    found.sort_by_key(|a| a.key.user);
    ensure!(found == [nth(&kept, 0)?.clone(), nth(&kept, 3)?.clone()], "{found:#?} was found");
    Ok(())
}

/// Only those made before the moment, at most the limit; the number is told.
pub async fn kept_answers_are_forgotten_in_batches(world: World) -> anyhow::Result<()> {
    let user = UserId(world.id());
    let mut kept = Vec::new();
    for number in 0..10 {
        kept.push(answer(user, "a", &number.to_string(), number)?);
    }
    let keys: Vec<AnswerKey> = kept.iter().map(|a| a.key.clone()).collect();
    world.write(&Changes { answers: kept, ..Changes::default() }).await?;
    for (limit, forgotten, left) in [(4, 4, 6), (4, 3, 3), (4, 0, 3)] {
        let mut unit = world.begin().await?;
        let told = unit.answers().forget_before(at(7)?, limit).await?;
        ensure!(told == forgotten, "{told} answers were forgotten where {forgotten} were due");
        unit.commit().await?;
        let mut unit = world.begin().await?;
        let found = unit.answers().find(&keys).await?;
        unit.rollback().await?;
        ensure!(found.len() == left, "{} answers are left where {left} should be", found.len());
        ensure!(
            left > 3 || found.iter().all(|a| a.created_at >= at(7).unwrap_or(Timestamp::MAX)),
            "a younger answer was forgotten"
        );
    }
    Ok(())
}
