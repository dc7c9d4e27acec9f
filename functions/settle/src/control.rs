use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use invoke::Functions;
use settlement::{
    Book, Span,
    control::{Asked, DayTotal, Difference, Said, differences},
    control_table, day_of, source_table,
};
use sqlx::MySqlConnection;
use tokio::time::sleep;

use crate::error::SettleError;

/// The function that is asked.
const ASKED: &str = "control-totals";
/// How long it may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often is asked whether the events have arrived, and how long is waited in between.
const TRIES_MAX: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);
/// How long after its end a day may still get a payment, from a transaction that began within it.
const LATE_MAX: TimeDelta = TimeDelta::seconds(60);

/// What the payment service says was captured and refunded, asked by invoking a function of it.
#[derive(Clone, Debug)]
pub struct ControlTotals(pub Functions);

impl ControlTotals {
    async fn ask(&self, asked: Asked) -> Result<Vec<DayTotal>, SettleError> {
        let said: Said = self.0.invoke(ASKED, &asked, ANSWER_TIMEOUT).await?;
        Ok(said.data)
    }

    /// Holds what is known until the day `to`, and happened before a moment, against what the payment
    /// service says, from the first day that was not found equal before. Events that are on the way
    /// are waited for, for a while.
    pub(crate) async fn differences(
        &self,
        db: &mut MySqlConnection,
        to: NaiveDate,
        before: DateTime<Utc>,
    ) -> Result<Vec<Difference>, SettleError> {
        let proven = control_table::proven_through(db).await?;
        let from = proven.succ_opt().unwrap_or(proven);
        if to < from {
            return Ok(Vec::new());
        }
        let span = Span { from, to, before };
        let mut tries = 1;
        let differences = loop {
            let (said, known) = tokio::join!(self.ask(Asked { from, before }), known(db, span));
            let (said, known) = (said?, known?);
            let differences = differences(&said, &known);
            if differences.is_empty() || tries == TRIES_MAX {
                break differences;
            }
            tries += 1;
            sleep(PAUSE).await;
        };
        if differences.is_empty()
            && let Some(over) = day_of(Utc::now() - LATE_MAX).pred_opt()
        {
            control_table::prove(db, to.min(over)).await?;
        }
        Ok(differences)
    }
}

async fn known(db: &mut MySqlConnection, span: Span) -> sqlx::Result<Vec<DayTotal>> {
    let mut known = Vec::new();
    let books: Vec<Book> = source_table::books(db).await?;
    for book in books {
        known.extend(source_table::day_totals(db, &book, span).await?);
    }
    Ok(known)
}
