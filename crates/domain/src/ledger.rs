//! The double-entry ledger: accounts, transfers, and the only functions that change a balance.
//!
//! Invariant: a balance changes only by a [`Transfer`] made in the same step, so all balances add
//! up to zero at every moment and each is the sum of its transfers.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ids::{AccountId, MarketId, TransferId, UserId};
use crate::money::{Credits, Overflow};

/// Who an account belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user's cash.
    User(UserId),
    /// The collateral behind a market's complete sets.
    Market(MarketId),
    /// The cash of a market's automated market maker.
    Maker(MarketId),
    /// Issues credits: its balance is minus what was issued.
    Treasury,
    /// Gathers fees.
    Fees,
}

impl Owner {
    /// The owner's kind as text: `user`, `market`, `maker`, `treasury` or `fees`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Market(_) => "market",
            Self::Maker(_) => "maker",
            Self::Treasury => "treasury",
            Self::Fees => "fees",
        }
    }
}

/// An account: a balance, and the part of it that open orders reserve. Both in mills.
///
/// Invariant: `0 <= held <= balance`, but for the treasury, which holds nothing and may be negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Whose it is.
    pub owner: Owner,
    /// Everything on it, held or not.
    pub balance: Credits,
    /// The part that open orders reserve.
    pub held: Credits,
    /// How many transfers it has paid: the length of its chain.
    pub paid_count: i64,
    /// The hash of the last transfer that it paid; zeros before the first.
    pub chain: [u8; 32],
    /// When it was opened.
    pub created_at: Timestamp,
}

impl Account {
    /// A new, empty account.
    #[must_use]
    pub const fn open(id: AccountId, owner: Owner, now: Timestamp) -> Self {
        Self { id, owner, balance: Credits::ZERO, held: Credits::ZERO, paid_count: 0, chain: [0; 32], created_at: now }
    }

    /// What can be spent: `balance - held`. Never below zero.
    #[must_use]
    pub fn available(&self) -> Credits {
        self.balance.minus(self.held).unwrap_or(Credits::ZERO)
    }

    /// Reserves `amount` of what is available.
    pub fn hold(&mut self, amount: Credits) -> Result<(), LedgerError> {
        if amount > self.available() {
            return Err(self.insufficient(amount));
        }
        self.held = self.held.plus(amount)?;
        Ok(())
    }

    /// Frees `amount` of what is held.
    pub fn release(&mut self, amount: Credits) -> Result<(), LedgerError> {
        let held = self.held.minus(amount)?;
        if held < Credits::ZERO {
            return Err(LedgerError::ReleaseBeyondHeld { account: self.id });
        }
        self.held = held;
        Ok(())
    }

    fn insufficient(&self, required: Credits) -> LedgerError {
        LedgerError::InsufficientFunds { account: self.id, required, available: self.available() }
    }
}

/// What a transfer was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferKind {
    /// The treasury gives a user credits.
    Grant,
    /// A user pays another.
    Payment,
    /// The price of shares that changed hands.
    Trade,
    /// The taker's fee.
    Fee,
    /// Into the collateral: new complete sets.
    Mint,
    /// Out of the collateral: complete sets destroyed.
    Redeem,
    /// Out of the collateral after the resolution.
    Payout,
    /// A funder endows a market maker.
    Subsidy,
    /// A market maker's remainder goes back to its funder.
    Refund,
}

impl TransferKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Grant,
        Self::Payment,
        Self::Trade,
        Self::Fee,
        Self::Mint,
        Self::Redeem,
        Self::Payout,
        Self::Subsidy,
        Self::Refund,
    ];

    /// The kind as it stands in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Payment => "payment",
            Self::Trade => "trade",
            Self::Fee => "fee",
            Self::Mint => "mint",
            Self::Redeem => "redeem",
            Self::Payout => "payout",
            Self::Subsidy => "subsidy",
            Self::Refund => "refund",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }
}

/// What a transfer refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reference {
    /// The market concerned.
    pub market: Option<MarketId>,
    /// The trade concerned.
    pub trade: Option<crate::ids::TradeId>,
}

/// An immutable movement of money from one account to another.
///
/// Each transfer is chained to the one that the same account paid before it: `hash` covers every
/// field and the previous hash, and the account keeps the newest. So a changed, inserted or removed
/// transfer shows, without a chain that all payments would have to queue for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its id.
    pub id: TransferId,
    /// The payer.
    pub from: AccountId,
    /// The payee, never the payer.
    pub to: AccountId,
    /// Always positive.
    pub amount: Credits,
    /// What it was for.
    pub kind: TransferKind,
    /// What it refers to.
    pub reference: Reference,
    /// A short text by the payer.
    pub memo: Option<String>,
    /// Its place among the transfers that the payer paid, from 1.
    pub paid_number: i64,
    /// SHA-256 over the previous hash of the payer's chain and every field above and `created_at`.
    pub hash: [u8; 32],
    /// When.
    pub created_at: Timestamp,
}

/// What is hashed of a transfer without a memo is no longer than this.
const HASHED_BYTES: usize = 160;

impl Transfer {
    /// The hash that the transfer must have after `previous` in its payer's chain.
    #[must_use]
    pub fn expected_hash(&self, previous: &[u8; 32]) -> [u8; 32] {
        // One text rather than many pieces: SHA-256 works on 64 bytes at a time, most of all where they stand together.
        let mut text = Vec::with_capacity(HASHED_BYTES);
        text.extend_from_slice(previous);
        text.extend_from_slice(self.id.0.as_bytes());
        text.extend_from_slice(self.from.0.as_bytes());
        text.extend_from_slice(self.to.0.as_bytes());
        text.extend_from_slice(&self.amount.mills().to_be_bytes());
        text.extend_from_slice(self.kind.as_str().as_bytes());
        text.push(0);
        text.extend_from_slice(&self.reference.market.map_or([0; 16], |m| m.0.into_bytes()));
        text.extend_from_slice(&self.reference.trade.map_or([0; 16], |t| t.0.into_bytes()));
        text.push(u8::from(self.memo.is_some()));
        text.extend_from_slice(self.memo.as_deref().unwrap_or_default().as_bytes());
        text.extend_from_slice(&self.paid_number.to_be_bytes());
        text.extend_from_slice(&self.created_at.as_microsecond().to_be_bytes());
        Sha256::digest(&text).into()
    }
}

/// A transfer that is wanted: the ledger makes a [`Transfer`] of it.
#[derive(Debug, Clone)]
pub struct Posting {
    /// The id that it shall have.
    pub id: TransferId,
    /// How much; must be positive.
    pub amount: Credits,
    /// What for.
    pub kind: TransferKind,
    /// What it refers to.
    pub reference: Reference,
    /// A short text.
    pub memo: Option<String>,
}

/// Why the ledger refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// The payer lacks the money. Amounts in mills.
    #[error("account {account} has {available} available where {required} are needed")]
    InsufficientFunds {
        /// The payer.
        account: AccountId,
        /// What was asked for.
        required: Credits,
        /// What there is.
        available: Credits,
    },
    /// A transfer of nothing or less.
    #[error("a transfer must be of a positive amount")]
    NotPositive,
    /// From an account to itself.
    #[error("an account cannot pay itself")]
    SameAccount,
    /// More was to be freed than is held: a fault of the caller.
    #[error("account {account} does not hold what was to be freed")]
    ReleaseBeyondHeld {
        /// The account.
        account: AccountId,
    },
    /// A sum left the range of 64 bits.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Moves money: debits `from`'s available balance, credits `to`, extends `from`'s chain. Changes
/// nothing on an error. What is held is never spent: free it first.
pub fn transfer(
    from: &mut Account,
    to: &mut Account,
    posting: Posting,
    now: Timestamp,
) -> Result<Transfer, LedgerError> {
    if from.id == to.id {
        return Err(LedgerError::SameAccount);
    }
    if !posting.amount.is_positive() {
        return Err(LedgerError::NotPositive);
    }
    let may_go_negative = from.owner == Owner::Treasury;
    if !may_go_negative && posting.amount > from.available() {
        return Err(from.insufficient(posting.amount));
    }
    let debited = from.balance.minus(posting.amount)?;
    let credited = to.balance.plus(posting.amount)?;
    let mut made = Transfer {
        id: posting.id,
        from: from.id,
        to: to.id,
        amount: posting.amount,
        kind: posting.kind,
        reference: posting.reference,
        memo: posting.memo,
        paid_number: from.paid_count.checked_add(1).ok_or(Overflow)?,
        hash: [0; 32],
        created_at: now,
    };
    made.hash = made.expected_hash(&from.chain);
    from.balance = debited;
    from.paid_count = made.paid_number;
    from.chain = made.hash;
    to.balance = credited;
    Ok(made)
}
