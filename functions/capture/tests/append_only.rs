//! What the functions' database user may not do.

use sqlx::{Connection, MySqlConnection, mysql::MySqlDatabaseError};

/// "command denied to user for table".
const COMMAND_DENIED: u16 = 1142;

#[tokio::test]
async fn the_functions_can_neither_change_nor_delete_ledger_entries_or_events() {
    let url = std::env::var("DATABASE_URL_PAYMENT").unwrap();
    let mut functions = MySqlConnection::connect(&url).await.unwrap();
    for statement in [
        "UPDATE ledger_entry SET amount = amount",
        "DELETE FROM ledger_entry",
        "TRUNCATE TABLE ledger_entry",
        "DROP TABLE ledger_entry",
        "UPDATE outbox_event SET payload = payload",
        "DELETE FROM outbox_event",
        "TRUNCATE TABLE outbox_event",
        "DROP TABLE outbox_event",
        "DELETE FROM payment",
        "UPDATE outbox_delivery SET kafka_offset = kafka_offset",
        "DELETE FROM outbox_delivery",
    ] {
        let denied = sqlx::query(statement)
            .execute(&mut functions)
            .await
            .unwrap_err();
        let denied = denied.into_database_error().unwrap();
        assert_eq!(
            denied
                .try_downcast_ref::<MySqlDatabaseError>()
                .unwrap()
                .number(),
            COMMAND_DENIED,
            "{statement}"
        );
    }
    sqlx::query("SELECT 1 FROM ledger_entry LIMIT 1")
        .execute(&mut functions)
        .await
        .unwrap();
}
