//! Sends a plan's operations and writes down what comes of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use client::{Client, key_from_file};
use http::Method;
use sqlx::MySqlPool;
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, sleep_until, timeout},
};

use crate::{
    history::{Answer, Attempt, BodyHash, History, Outcome, Phase, Told},
    plan::{Action, Caller, Operation},
    site::Site,
};

/// Requests under way at once.
const REQUESTS_MAX: usize = 128;
/// How long a client waits for an answer; above every timeout of the runtime.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How often an operation is sent while the plan runs. A payment needs its authorization, which is
/// therefore sent more often.
const SENDS_MAX: u32 = 4;
const AUTHORIZE_SENDS_MAX: u32 = 20;
/// How often an operation is sent once everything is healed.
const HEALED_SENDS_MAX: u32 = 30;
/// Pause before an operation is sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// All clients of one run.
pub struct Clients {
    by_caller: HashMap<Caller, Client>,
    database: MySqlPool,
    requests: Semaphore,
    began: Instant,
    history: Mutex<History>,
    /// The id of each payment of the plan, once known.
    ids: Vec<watch::Sender<Option<String>>>,
}

impl Clients {
    /// Clients of `site` for a plan of `payments`; time begins now.
    ///
    /// # Errors
    /// When the keys cannot be used.
    pub fn new(site: &Site, payments: usize, history: History) -> anyhow::Result<Self> {
        let mut by_caller = HashMap::new();
        for caller in Caller::ALL {
            let key = key_from_file(&site.keys_file(), caller.key_id())?;
            by_caller.insert(caller, Client::new(&site.base_url(), key)?);
        }
        Ok(Self {
            by_caller,
            database: site.database().clone(),
            requests: Semaphore::new(REQUESTS_MAX),
            began: Instant::now(),
            history: Mutex::new(history),
            ids: (0..payments).map(|_| watch::Sender::new(None)).collect(),
        })
    }

    /// When time began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Everything so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a payment, once known.
    #[must_use]
    pub fn payment_id(&self, payment: u32) -> Option<String> {
        self.ids[payment as usize].borrow().clone()
    }

    /// Sends an operation when it is due and its payment's id is known, until it is settled or was
    /// sent often enough.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn perform(&self, operation: &Operation) -> anyhow::Result<()> {
        sleep_until((self.began + Duration::from_millis(operation.at_ms)).into()).await;
        let sends_max = match operation.action {
            Action::Authorize { .. } => AUTHORIZE_SENDS_MAX,
            Action::Read => 1,
            _ => SENDS_MAX,
        };
        if !matches!(operation.action, Action::Authorize { .. }) {
            let mut id = self.ids[operation.payment as usize].subscribe();
            id.wait_for(Option::is_some).await?;
        }
        self.send(operation, Phase::Run, sends_max).await
    }

    /// Sends an operation whose outcome is not known, now that everything is healed.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn settle(&self, operation: &Operation) -> anyhow::Result<()> {
        self.send(operation, Phase::Settle, HEALED_SENDS_MAX).await
    }

    /// Sends an operation whose answer is known once more.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn repeat(&self, operation: &Operation) -> anyhow::Result<()> {
        self.send(operation, Phase::Repeat, HEALED_SENDS_MAX).await
    }

    async fn send(&self, operation: &Operation, phase: Phase, max: u32) -> anyhow::Result<()> {
        for sent in 0..max {
            let phase = match phase {
                Phase::Run if sent > 0 => Phase::Retry,
                phase => phase,
            };
            let attempt = self.attempt(operation, phase).await;
            let id = attempt
                .answer
                .as_ref()
                .and_then(|answer| answer.payment_id.clone());
            let settled = attempt.settled().is_some();
            self.history().add(attempt)?;
            if settled {
                if let (Action::Authorize { .. }, Some(id)) = (operation.action, id) {
                    self.ids[operation.payment as usize].send_replace(Some(id));
                }
                break;
            }
            if sent + 1 < max {
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    async fn attempt(&self, operation: &Operation, phase: Phase) -> Attempt {
        // Never closed.
        let _request = self.requests.acquire().await;
        let payment_id = self.payment_id(operation.payment);
        let sent = self.began.elapsed();
        let answer = timeout(ANSWER_WITHIN, self.answer(operation, payment_id.as_deref()));
        let (answer, cause) = match answer.await {
            Ok(Ok(answer)) => (Some(answer), None),
            Ok(Err(error)) => (None, Some(format!("{error:#}"))),
            Err(_) => (None, Some(format!("no answer within {ANSWER_WITHIN:?}"))),
        };
        Attempt {
            sent_us: micros(sent),
            answered_us: micros(self.began.elapsed()),
            operation: operation.operation,
            payment: operation.payment,
            payment_id,
            caller: operation.caller,
            key: operation.key.clone(),
            action: operation.action,
            request: BodyHash::of(operation.body().unwrap_or_default().as_bytes()),
            phase,
            outcome: answer.as_ref().map_or(Outcome::Unknown, Answer::outcome),
            answer,
            cause,
        }
    }

    async fn answer(&self, operation: &Operation, id: Option<&str>) -> anyhow::Result<Answer> {
        if operation.action == Action::Lapse {
            return self.lapse(id.unwrap_or_default()).await;
        }
        let method = match operation.action {
            Action::Read => Method::GET,
            _ => Method::POST,
        };
        let path = operation.path(id.unwrap_or_default());
        let body = operation.body().map(Into::into);
        let client = &self.by_caller[&operation.caller];
        let response = client
            .send(method, &path, body, operation.key.as_deref(), &[])
            .await?;
        let replayed = response.headers.contains_key("idempotent-replayed");
        Ok(Answer::read(
            response.status.as_u16(),
            &response.body,
            replayed,
        ))
    }

    /// Puts the end of an authorization into the past.
    async fn lapse(&self, payment_id: &str) -> anyhow::Result<Answer> {
        let id: uuid::Uuid = payment_id.trim_start_matches("pay_").parse()?;
        sqlx::query("UPDATE payment SET expires_at = created_at WHERE payment_id = ?")
            .bind(id)
            .execute(&self.database)
            .await?;
        let mut answer = Answer::read(200, &[], false);
        answer.told = Some(Told::Lapsed);
        Ok(answer)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
