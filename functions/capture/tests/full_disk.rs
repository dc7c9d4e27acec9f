//! What keeps payments whole while the database's disk is full.

use sqlx::{Connection, MySqlConnection};

/// What changes in a payment; everything else stays as it was authorized.
const CHANGED: [&str; 6] = [
    "status",
    "captured_amount",
    "refunded_amount",
    "captured_seq",
    "version",
    "updated_at",
];
/// Types whose values all have the same length.
const FIXED: [&str; 4] = ["enum", "bigint", "int", "datetime"];

#[tokio::test]
async fn no_change_makes_the_row_of_a_payment_longer() {
    let url = std::env::var("DATABASE_URL_PAYMENT").unwrap();
    let mut functions = MySqlConnection::connect(&url).await.unwrap();
    for column in CHANGED {
        let (data_type, nullable): (String, String) = sqlx::query_as(
            "SELECT data_type, is_nullable FROM information_schema.columns
              WHERE table_schema = DATABASE() AND table_name = 'payment' AND column_name = ?",
        )
        .bind(column)
        .fetch_one(&mut functions)
        .await
        .unwrap();
        assert!(FIXED.contains(&data_type.as_str()), "{column} {data_type}");
        assert_eq!(nullable, "NO", "{column}");
    }
}
