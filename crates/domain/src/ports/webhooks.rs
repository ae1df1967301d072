//! Webhooks: how they are kept, and who signs what they are sent.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Page, PageRequest, StoreError};
use crate::ids::{DeliveryId, UserId, WebhookId};
use crate::webhook::{Delivery, DeliveryState, Webhook};

/// Webhooks, for decisions. A webhook's row lock guards its deliveries too.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Webhooks: Send {
    /// Locks one.
    async fn lock(&mut self, id: WebhookId) -> Result<Option<Webhook>, StoreError>;
    /// Those of a user, in id order. Their owner's row lock guards their number.
    async fn of_user(&mut self, owner: UserId) -> Result<Vec<Webhook>, StoreError>;
    /// All that are told of what happens, in id order, without a lock.
    async fn enabled(&mut self) -> Result<Vec<Webhook>, StoreError>;
    /// One delivery. The caller holds the lock of its webhook.
    async fn delivery(&mut self, id: DeliveryId) -> Result<Option<Delivery>, StoreError>;
    /// Has what was made for a webhook since a moment sent again, but for what is to be sent anyway, the oldest
    /// first, at most `limit`; returns how many. The caller holds the lock of the webhook.
    async fn send_again(
        &mut self,
        webhook: WebhookId,
        since: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
    /// Has what was tried and not taken tried again from `now` on, as if it had not been; returns how many. The caller holds
    /// the lock of the webhook.
    async fn make_due(&mut self, webhook: WebhookId, now: Timestamp) -> Result<u64, StoreError>;
}

/// What a list of deliveries can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverySort {
    /// When they were made.
    CreatedAt,
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// To that webhook.
    pub webhook: WebhookId,
    /// Only in that state.
    pub state: Option<DeliveryState>,
}

/// Webhooks and what they were sent, for reads; and forgetting it.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait WebhookLog: Send + Sync {
    /// One webhook.
    async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError>;
    /// Those of a user, in id order.
    async fn webhooks_of(&self, owner: UserId) -> Result<Vec<Webhook>, StoreError>;
    /// One delivery.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError>;
    /// Deliveries, by when they were made.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &PageRequest<DeliverySort>,
    ) -> Result<Page<Delivery>, StoreError>;
    /// What is to be sent to a webhook at `now`, in the order of the events, at most `limit`. Nothing of a market,
    /// or of none, of which something was tried and is not due yet: what comes after that waits for it. Only a test (of
    /// sequence 0) waits for nothing else, and nothing else for it.
    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, StoreError>;
    /// When the next of what was tried is due; none where there is nothing like that.
    async fn next_due(&self, webhook: WebhookId) -> Result<Option<Timestamp>, StoreError>;
    /// Forgets deliveries that were made before a moment, at most `limit`; returns how many.
    async fn forget_deliveries_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Signs what webhooks are sent, as [Standard Webhooks](https://www.standardwebhooks.com) says. The secrets follow
/// from a webhook and a number by a key of the server's.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait WebhookSigner: Send + Sync {
    /// The secret that a receiver checks HMACs with: `whsec_` and base64.
    fn secret(&self, webhook: WebhookId, number: u32) -> String;
    /// The public key that a receiver checks Ed25519 signatures with: `whpk_` and base64.
    fn public_key(&self, webhook: WebhookId, number: u32) -> String;
    /// Signatures by each of these secrets, `v1` by HMAC-SHA256 and `v1a` by Ed25519, parted by spaces; over the
    /// message's id, the second at which it is sent, and its body.
    fn sign(&self, webhook: WebhookId, numbers: &[u32], id: &str, second: i64, body: &str) -> String;
}
