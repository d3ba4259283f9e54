//! Kept tokens, and one exchange in flight per credential.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::{AccessToken, Credential, Proof, SourceKey, TokenError};

/// A kept token is used only while it is good for this long: a call takes up to 20 s, and
/// clocks differ.
const LEAST_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// A token is renewed this long before its end, so that an outage of Entra for some minutes
/// goes unnoticed. Microsoft's own clients take the same five minutes.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Renewals of different identities that started together are spread over this long.
const RENEW_SPREAD_SECS: u128 = 60;

/// After a renewal has begun, the next one is tried this much later at the earliest.
const RENEW_PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// How many credentials are remembered. One takes some kilobytes; a cluster with more active
/// credentials than this exchanges some of them more often.
const MAX_SLOTS: usize = 1_024;

/// Tokens by all that went into them. Authority and scope belong to the client that owns this.
#[derive(Default)]
pub(super) struct Cache {
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// Turns secrets into map keys that say nothing about them.
    hasher: RandomState,
}

/// All inputs of an exchange, so that a token can never serve another credential.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    source: SourceKey,
    tenant_id: Uuid,
    client_id: Uuid,
    proof: u64,
}

#[derive(Default)]
struct Slot {
    /// Held by the one exchange in flight.
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// Exchanges that came to a result, and the last of these results: for those who waited.
    flights: u64,
    last: Option<Result<AccessToken, TokenError>>,
}

struct Kept {
    token: AccessToken,
    renew_at: Timestamp,
}

impl Cache {
    /// A kept token that is not yet due for its renewal.
    pub(super) fn fresh(&self, credential: &Credential, now: Timestamp) -> Option<AccessToken> {
        let slot = lock(&self.slots).get(&self.key(credential)).cloned()?;
        lock(&slot.state).fresh(now)
    }

    /// A kept token that is still good, due or not.
    pub(super) fn usable(&self, credential: &Credential, now: Timestamp) -> Option<AccessToken> {
        let slot = lock(&self.slots).get(&self.key(credential)).cloned()?;
        lock(&slot.state).usable(now)
    }

    /// The kept token, or the result of `exchange`, or of another's that was in flight.
    ///
    /// When the caller that makes the exchange goes away, one of those who wait makes its own.
    pub(super) async fn get_or_exchange<F>(
        &self,
        credential: &Credential,
        now: Timestamp,
        exchange: impl FnOnce() -> F,
    ) -> Result<AccessToken, TokenError>
    where
        F: Future<Output = Result<AccessToken, TokenError>>,
    {
        let slot = self.slot(credential, now);
        let flights = {
            let state = lock(&slot.state);
            if let Some(token) = state.fresh(now) {
                return Ok(token);
            }
            state.flights
        };
        let _flight = slot.flight.lock().await;
        {
            let mut state = lock(&slot.state);
            if let Some(token) = state.fresh(now) {
                return Ok(token);
            }
            if state.flights != flights
                && let Some(result) = &state.last
            {
                return result.clone();
            }
            // Others go on with the kept token meanwhile, and so do we if this takes too long.
            if let Some(kept) = &mut state.kept {
                kept.renew_at = after(now, RENEW_PAUSE);
            }
        }
        let result = exchange().await;
        let mut state = lock(&slot.state);
        let result = match result {
            Ok(token) => {
                state.kept = Some(Kept {
                    renew_at: renew_at(&token, credential.client_id, now),
                    token: token.clone(),
                });
                Ok(token)
            }
            Err(refused @ TokenError::Refused { .. }) => {
                state.kept = None;
                Err(refused)
            }
            Err(passing @ (TokenError::Throttled { .. } | TokenError::Unavailable { .. })) => {
                state.usable(now).ok_or(passing)
            }
        };
        state.flights += 1;
        state.last = Some(result.clone());
        result
    }

    /// Forgets this very token, wherever it is.
    pub(super) fn reject(&self, token: &AccessToken) {
        for slot in lock(&self.slots).values() {
            let mut state = lock(&slot.state);
            if state.kept.as_ref().is_some_and(|kept| kept.token.is(token)) {
                state.kept = None;
            }
            if matches!(&state.last, Some(Ok(last)) if last.is(token)) {
                state.last = None;
            }
        }
    }

    fn slot(&self, credential: &Credential, now: Timestamp) -> Arc<Slot> {
        let key = self.key(credential);
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(&key) {
            return Arc::clone(slot);
        }
        // Slots in use have another owner; what else has no good token is of no use.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || lock(&slot.state).usable(now).is_some()
        });
        if slots.len() >= MAX_SLOTS {
            let mut ends: Vec<Timestamp> = slots
                .values()
                .filter_map(|slot| Some(lock(&slot.state).kept.as_ref()?.token.expires_at()))
                .collect();
            ends.sort_unstable();
            // An eighth at once, so that a full map is not searched for every newcomer.
            if let Some(&bound) = ends.get(MAX_SLOTS / 8) {
                slots.retain(|_, slot| {
                    Arc::strong_count(slot) > 1
                        || lock(&slot.state)
                            .kept
                            .as_ref()
                            .is_some_and(|kept| kept.token.expires_at() > bound)
                });
            }
        }
        Arc::clone(slots.entry(key).or_default())
    }

    fn key(&self, credential: &Credential) -> Key {
        let proof = match &credential.proof {
            Proof::ClientSecret(secret) => self.hasher.hash_one(("secret", secret.expose_secret())),
        };
        Key {
            source: credential.source.clone(),
            tenant_id: credential.tenant_id,
            client_id: credential.client_id,
            proof,
        }
    }
}

impl State {
    fn usable(&self, now: Timestamp) -> Option<AccessToken> {
        let kept = self.kept.as_ref()?;
        (kept.token.expires_at().duration_since(now) >= LEAST_LIFE).then(|| kept.token.clone())
    }

    fn fresh(&self, now: Timestamp) -> Option<AccessToken> {
        let kept = self.kept.as_ref()?;
        if now < kept.renew_at {
            self.usable(now)
        } else {
            None
        }
    }
}

/// Five to six minutes before the end, or in the middle of a short life.
fn renew_at(token: &AccessToken, client_id: Uuid, now: Timestamp) -> Timestamp {
    let share = u64::try_from(client_id.as_u128() % RENEW_SPREAD_SECS)
        .expect("less than RENEW_SPREAD_SECS");
    let before = SignedDuration::try_from(RENEW_BEFORE + Duration::from_secs(share))
        .expect("some minutes fit");
    let life = token.expires_at().duration_since(now);
    after(token.expires_at(), -before.min(life / 2))
}

fn after(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a whole value: changes are single assignments.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
