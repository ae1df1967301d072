//! Stand-in while the scoring rule is being written.
#![expect(missing_docs, reason = "stand-in")]
use crate::money::{Credits, Price};
#[derive(Debug, Clone, PartialEq)]
pub struct Lmsr { liquidity: f64, sold: Vec<i64> }
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("x")]
pub struct LmsrError;
impl Lmsr {
    pub fn from_subsidy(_s: Credits, p: &[u16]) -> Result<Self, LmsrError> { Ok(Self { liquidity: 1.0, sold: vec![0; p.len()] }) }
    pub fn restore(liquidity: f64, _p: &[u16], sold: &[i64]) -> Result<Self, LmsrError> { Ok(Self { liquidity, sold: sold.to_vec() }) }
    pub fn liquidity(&self) -> f64 { self.liquidity }
    pub fn sold(&self) -> &[i64] { &self.sold }
    pub fn outcomes(&self) -> usize { self.sold.len() }
    pub fn price(&self, _o: usize) -> Option<f64> { Some(0.5) }
    pub fn prices_mills(&self) -> Vec<u16> { Vec::new() }
    pub fn buy_cost(&self, _o: usize, _s: i64) -> Result<Credits, LmsrError> { Err(LmsrError) }
    pub fn sell_proceeds(&self, _o: usize, _s: i64) -> Result<Credits, LmsrError> { Err(LmsrError) }
    pub fn buy_rest_cost(&self, _o: usize, _s: i64) -> Result<Credits, LmsrError> { Err(LmsrError) }
    pub fn sell_rest_proceeds(&self, _o: usize, _s: i64) -> Result<Credits, LmsrError> { Err(LmsrError) }
    pub fn shares_until_price_rises_to(&self, _o: usize, _p: Price) -> i64 { 0 }
    pub fn shares_until_price_falls_to(&self, _o: usize, _p: Price) -> i64 { 0 }
    pub fn shares_for_budget(&self, _o: usize, _b: Credits) -> i64 { 0 }
    pub fn rest_shares_for_budget(&self, _o: usize, _b: Credits) -> i64 { 0 }
    pub fn trade(&mut self, _o: usize, _d: i64) -> Result<(), LmsrError> { Ok(()) }
    pub fn sets(&self) -> i64 { 0 }
    pub fn holdings(&self, _o: usize) -> Option<i64> { Some(0) }
}
