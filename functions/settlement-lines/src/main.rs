//! Invoked by other services: how the captures and refunds of a payment were settled.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use settlement::{
    item_table,
    settled::{Asked, Told},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let pool = db::pool(db::url_from_file("DATABASE_URL_SETTLEMENT_FILE")?);
    let handler = service_fn(move |event: LambdaEvent<Asked>| {
        let pool = pool.clone();
        async move {
            let payment_id = event.payload.payment_id;
            let lines = db::session(&pool, |db| Box::pin(item_table::of_payment(db, payment_id)));
            Ok::<_, Error>(Told { data: lines.await? })
        }
    });
    lambda_runtime::run_concurrent(handler).await
}
