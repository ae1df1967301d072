//! Zipf's law: few things draw most of the interest, as few markets draw most of the trade.

use anyhow::Context as _;
use rand::Rng;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;

/// Draws ranks from 0 on; rank `r` has the weight `1 / (r + 1)^exponent`.
pub(super) struct Zipf {
    ranks: WeightedIndex<f64>,
}

impl Zipf {
    /// The law over so many ranks.
    ///
    /// # Errors
    /// When there are no ranks, or the exponent is no number.
    pub(super) fn new(ranks: u32, exponent: f64) -> anyhow::Result<Self> {
        let weights = (1..=ranks).map(|rank| f64::from(rank).powf(-exponent));
        Ok(Self { ranks: WeightedIndex::new(weights).context("Zipf's law needs ranks and a number")? })
    }

    /// One rank.
    pub(super) fn draw(&self, random: &mut impl Rng) -> usize {
        self.ranks.sample(random)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::Zipf;

    #[test]
    fn a_rank_is_drawn_in_proportion_to_its_inverse() {
        let zipf = Zipf::new(50, 1.0).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut counts = [0_u32; 50];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut random)] += 1;
        }
        // The inverses of 1 to 50 add up to 4.499.
        for (rank, share) in [(0, 0.2223), (1, 0.1111), (9, 0.0222), (49, 0.0044)] {
            let drawn = f64::from(counts[rank]) / 100_000.0;
            assert!((drawn - share).abs() < 0.004, "rank {rank} was drawn {drawn}, not {share}");
        }
    }

    #[test]
    fn an_exponent_of_nought_draws_every_rank_alike() {
        let zipf = Zipf::new(2, 0.0).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let firsts = (0..10_000).filter(|_| zipf.draw(&mut random) == 0).count();
        assert!((4_800..5_200).contains(&firsts), "{firsts}");
    }

    #[test]
    fn refuses_a_law_over_nothing() {
        assert!(Zipf::new(0, 1.0).is_err());
    }
}
