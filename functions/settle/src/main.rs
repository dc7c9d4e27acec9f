//! Starts the function. It is called over HTTP and by a schedule.

use guard::{Guard, Policy, Role, Takes};
use invoke::Functions;
use lambda_http::{Adapter, Request, request::LambdaRequest};
use lambda_runtime::{Error, LambdaEvent, Service, run_concurrent, service_fn};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};
use settle::ControlTotals;
use sqlx::mysql::MySqlConnectOptions;

const POLICY: Policy = Policy {
    roles: &[Role::Operator],
    takes: Takes::Json,
};

/// What only an event of HTTP has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    request_context: Option<IgnoredAny>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let guard = Guard::from_env().await?;
    let database = db::url_from_file("DATABASE_URL_SETTLEMENT_FILE")?;
    let totals = ControlTotals(Functions::from_env()?);
    run_concurrent(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let (guard, database, totals) = (guard.clone(), database.clone(), totals.clone());
        async move {
            let Http { request_context } = serde_json::from_str(event.payload.get())?;
            if request_context.is_some() {
                return serve(guard, database, totals, event).await;
            }
            let report = settle::run_schedule(&database, &totals).await?;
            Ok::<_, Error>(to_raw_value(&report)?)
        }
    }))
    .await
}

async fn serve(
    guard: Guard,
    database: MySqlConnectOptions,
    totals: ControlTotals,
    event: LambdaEvent<Box<RawValue>>,
) -> Result<Box<RawValue>, Error> {
    let (payload, context) = event.into_parts();
    let request: LambdaRequest = serde_json::from_str(payload.get())?;
    let mut http = Adapter::from(service_fn(move |request: Request| {
        let (guard, database, totals) = (guard.clone(), database.clone(), totals.clone());
        async move {
            guard::serve(&guard, POLICY, request, |call| {
                settle::settle(database, totals, call)
            })
            .await
        }
    }));
    let response = http.call(LambdaEvent::new(request, context)).await?;
    Ok(to_raw_value(&response)?)
}
