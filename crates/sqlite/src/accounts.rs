//! Accounts and transfers.

use async_trait::async_trait;
use bellwether_domain::ids::{AccountId, MarketId, TradeId, TransferId, UserId};
use bellwether_domain::ledger::{Account, Owner, Reference, Transfer, TransferKind};
use bellwether_domain::ports::{Accounts, Page, PageRequest, StoreError, TransferFilter, TransferSort};
use jiff::Timestamp;
use uuid::Uuid;

use crate::connection::Connection;
use crate::lists::{List, TIME};
use crate::schema::{ACCOUNTS, TRANSFERS};
use crate::sql::{Row, Sql, Values};
use crate::timelines::{self, What};
use crate::unit::SqliteUnitOfWork;

/// The columns of a new account.
pub(crate) fn bind(account: &Account, row: &mut Values) {
    row.add(account.id)
        .add(account.owner.kind())
        .add(owner_id(account.owner))
        .add(account.balance)
        .add(account.held)
        .add(account.paid_count)
        .add(account.chain)
        .add(account.created_at);
}

/// The columns of an account that change, and how many transfers it had paid before.
pub(crate) fn bind_change((account, paid_before): &(&Account, i64), row: &mut Values) {
    row.add(account.id).add(account.balance).add(account.held).add(account.paid_count).add(account.chain);
    row.add(*paid_before);
}

/// The columns of a transfer.
pub(crate) fn bind_transfer(transfer: &Transfer, row: &mut Values) {
    row.add(transfer.id)
        .add(transfer.from)
        .add(transfer.to)
        .add(transfer.amount)
        .add(transfer.kind.as_str())
        .add(transfer.reference.market)
        .add(transfer.reference.trade)
        .add(transfer.memo.as_ref())
        .add(transfer.paid_number)
        .add(transfer.hash)
        .add(transfer.created_at);
}

const fn owner_id(owner: Owner) -> Option<Uuid> {
    match owner {
        Owner::User(id) => Some(id.0),
        Owner::Market(id) | Owner::Maker(id) => Some(id.0),
        Owner::Treasury | Owner::Fees => None,
    }
}

fn read(row: &mut Row) -> Result<Account, StoreError> {
    let id = AccountId(row.id()?);
    let kind = row.text()?;
    let owner = match (kind.as_str(), row.opt_id()?) {
        ("user", Some(id)) => Owner::User(UserId(id)),
        ("market", Some(id)) => Owner::Market(MarketId(id)),
        ("maker", Some(id)) => Owner::Maker(MarketId(id)),
        ("treasury", None) => Owner::Treasury,
        ("fees", None) => Owner::Fees,
        _ => return Err(row.unreadable("the id of an owner of its kind")),
    };
    Ok(Account {
        id,
        owner,
        balance: row.credits()?,
        held: row.credits()?,
        paid_count: row.int()?,
        chain: row.hash()?,
        created_at: row.time()?,
    })
}

fn read_transfer(row: &mut Row) -> Result<Transfer, StoreError> {
    Ok(Transfer {
        id: TransferId(row.id()?),
        from: AccountId(row.id()?),
        to: AccountId(row.id()?),
        amount: row.credits()?,
        kind: row.text_as("a kind of transfer", TransferKind::from_name)?,
        reference: Reference { market: row.opt_id()?.map(MarketId), trade: row.opt_id()?.map(TradeId) },
        memo: row.opt_text()?,
        paid_number: row.int()?,
        hash: row.hash()?,
        created_at: row.time()?,
    })
}

/// Accounts by ids, in id order.
pub(crate) fn by_ids(connection: &mut Connection, ids: &[AccountId]) -> Result<Vec<Account>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(ACCOUNTS.select()).then(" WHERE id IN ").list(ids.iter().copied()).then(" ORDER BY id");
    connection.read("an account", sql, read)
}

/// Accounts in id order after that one.
pub(crate) fn after(
    connection: &mut Connection,
    after: Option<AccountId>,
    limit: u32,
) -> Result<Vec<Account>, StoreError> {
    let sql = Sql::new(ACCOUNTS.select());
    let sql = match after {
        Some(id) => sql.then(" WHERE id > ?").bind(id),
        None => sql,
    };
    connection.read("an account", sql.then(" ORDER BY id LIMIT ? + 0").bind(limit), read)
}

/// A transfer.
pub(crate) fn transfer(connection: &mut Connection, id: TransferId) -> Result<Option<Transfer>, StoreError> {
    let sql = Sql::new(TRANSFERS.select()).then(" WHERE id = ?").bind(id);
    Ok(connection.read("a transfer", sql, read_transfer)?.pop())
}

/// A page of transfers.
pub(crate) fn transfers(
    connection: &mut Connection,
    filter: &TransferFilter,
    page: &PageRequest<TransferSort>,
) -> Result<Page<Transfer>, StoreError> {
    let (mut list, at) = match filter.account {
        Some(account) => (What::Transfers.list(account.0), timelines::AT),
        None => (List::of(TRANSFERS.name, TRANSFERS.columns, "id"), "created_at"),
    };
    list.filter("kind = ?", filter.kind.map(TransferKind::as_str));
    list.filter("market_id = ?", filter.market);
    let keys = |TransferSort::CreatedAt: &TransferSort| (at, TIME);
    list.page(connection, page, keys, |connection, sql| connection.read("a transfer", sql, read_transfer))
}

/// Transfers in order of payer, time and id, after that one.
pub(crate) fn chains(
    connection: &mut Connection,
    after: Option<(AccountId, Timestamp, TransferId)>,
    limit: u32,
) -> Result<Vec<Transfer>, StoreError> {
    let (payer, at, id) = after.unwrap_or((AccountId(Uuid::nil()), Timestamp::MIN, TransferId(Uuid::nil())));
    let sql = Sql::new(What::TransfersPaid.select())
        .then(" AND (owner, at, entry) > (?, ?, ?)")
        .bind(payer)
        .bind(at)
        .bind(id);
    connection.read("a transfer", sql.then(" ORDER BY owner, at, entry LIMIT ? + 0").bind(limit), read_transfer)
}

#[async_trait]
impl Accounts for SqliteUnitOfWork {
    async fn lock(&mut self, ids: &[AccountId]) -> Result<Vec<Account>, StoreError> {
        let ids = ids.to_vec();
        self.call(move |connection| by_ids(connection, &ids)).await
    }
}
