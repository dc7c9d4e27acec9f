//! Invoked by other services: what files say of the captures and refunds of a payment.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use recon::{
    item_table,
    verdict::{Asked, Told},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let pool = db::pool(db::url_from_file("DATABASE_URL_RECON_FILE")?);
    let handler = service_fn(move |event: LambdaEvent<Asked>| {
        let pool = pool.clone();
        async move {
            let payment_id = event.payload.payment_id;
            let verdicts =
                db::session(&pool, |db| Box::pin(item_table::of_payment(db, payment_id)));
            Ok::<_, Error>(Told {
                data: verdicts.await?,
            })
        }
    });
    lambda_runtime::run_concurrent(handler).await
}
