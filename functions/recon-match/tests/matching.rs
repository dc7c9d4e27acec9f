//! Every row of theirs and every transaction of ours gets the result that it should have.

mod recon;

use std::slice;

use recon::{DAY, Found, Ours, Recon};

fn at(line: u64, result: &str, ours: Option<&Ours>) -> Found {
    (Some(line), result.to_owned(), ours.map(Ours::key))
}

fn missing(ours: &Ours) -> Found {
    (None, "MISSING_EXTERNAL".to_owned(), Some(ours.key()))
}

#[tokio::test]
async fn rows_are_found_by_transaction_payment_and_approval() {
    let recon = Recon::new().await;
    let [first, second, third] = [100, 200, 300].map(Ours::capture);
    let (part, rest) = (second.refund(50), second.refund(50).refund(150));
    recon
        .ingest(&[
            first.clone(),
            second.clone(),
            part.clone(),
            rest.clone(),
            third.clone(),
        ])
        .await;
    let rows = [
        first.row("k"),
        rest.row("p"),
        part.row("p"),
        second.row("p"),
        third.row("a"),
    ];
    let file = recon.file(&rows).await;
    let expected = [
        at(2, "MATCHED", Some(&first)),
        at(3, "MATCHED", Some(&rest)),
        at(4, "MATCHED", Some(&part)),
        at(5, "MATCHED", Some(&second)),
        at(6, "MATCHED", Some(&third)),
    ];
    assert_eq!(recon.items(&file).await, expected);
}

#[tokio::test]
async fn what_differs_is_named_on_both_sides() {
    let recon = Recon::new().await;
    let all = [100, 200, 300, 400, 500].map(Ours::capture);
    recon.ingest(&all).await;
    let [amount, currency, status, date, left_out] = &all;
    let unknown = Ours::capture(600);
    let rows = [
        amount.row("k").replace(",100,", ",101,"),
        currency.row("k").replace("KRW", "USD"),
        status.row("p").replace("DONE", "CANCELED"),
        date.row("kp").replace(DAY, "2026-03-29"),
        unknown.row("kpa"),
        amount.row("k"),
        unknown.row("k").replace("600", "1e9"),
    ];
    let file = recon.file(&rows).await;
    let expected = [
        at(2, "AMOUNT_MISMATCH", Some(amount)),
        at(3, "CURRENCY_MISMATCH", Some(currency)),
        at(4, "STATUS_MISMATCH", Some(status)),
        at(5, "DATE_MISMATCH", Some(date)),
        at(6, "MISSING_INTERNAL", None),
        at(7, "DUPLICATE_EXTERNAL", None),
        at(8, "ROW_INVALID", None),
        missing(left_out),
    ];
    assert_eq!(recon.items(&file).await, expected);
}

#[tokio::test]
async fn refunds_of_one_amount_are_told_apart_by_nothing_and_all_match() {
    let recon = Recon::new().await;
    let capture = Ours::capture(300);
    let mut all = vec![capture];
    for _ in 0..3 {
        all.push(all.last().unwrap().refund(100));
    }
    recon.ingest(&all).await;
    let mut rows: Vec<String> = all.iter().map(|it| it.row("p")).collect();
    rows.push(all[1].row("p"));
    let file = recon.file(&rows).await;
    let results: Vec<String> = recon
        .items(&file)
        .await
        .into_iter()
        .map(|it| it.1)
        .collect();
    let expected = [
        "MATCHED",
        "MATCHED",
        "MATCHED",
        "MATCHED",
        "DUPLICATE_EXTERNAL",
    ];
    assert_eq!(results, expected);
}

#[tokio::test]
async fn row_that_could_be_several_is_ambiguous() {
    let recon = Recon::new().await;
    let capture = Ours::capture(300);
    let (first, second) = (capture.refund(100), capture.refund(100).refund(50));
    recon
        .ingest(&[capture.clone(), first.clone(), second.clone()])
        .await;
    let file = recon
        .file(&[capture.row("k"), first.row("p").replace(",100,", ",70,")])
        .await;
    let expected = [
        at(2, "MATCHED", Some(&capture)),
        at(3, "AMBIGUOUS", None),
        missing(&first),
        missing(&second),
    ];
    assert_eq!(recon.items(&file).await, expected);
}

#[tokio::test]
async fn late_event_finds_its_row_and_is_missing_where_there_is_none() {
    let recon = Recon::new().await;
    let [early, late, absent] = [100, 200, 300].map(Ours::capture);
    recon.ingest(slice::from_ref(&early)).await;
    let file = recon.file(&[early.row("k"), late.row("k")]).await;
    let before = [
        at(2, "MATCHED", Some(&early)),
        at(3, "MISSING_INTERNAL", None),
    ];
    assert_eq!(recon.items(&file).await, before);
    recon.ingest(&[late.clone(), absent.clone()]).await;
    recon.matched().await;
    let after = [
        at(2, "MATCHED", Some(&early)),
        at(3, "MATCHED", Some(&late)),
        missing(&absent),
    ];
    assert_eq!(recon.items(&file).await, after);
    recon.matched().await;
    assert_eq!(recon.items(&file).await, after, "again");
}

#[tokio::test]
async fn later_file_of_the_same_day_takes_the_place_of_the_earlier() {
    let recon = Recon::new().await;
    let [first, second] = [100, 200].map(Ours::capture);
    recon.ingest(&[first.clone(), second.clone()]).await;
    let wrong = recon.file(&[first.row("k")]).await;
    let expected = [at(2, "MATCHED", Some(&first)), missing(&second)];
    assert_eq!(recon.items(&wrong).await, expected);
    let right = recon.file(&[second.row("k"), first.row("k")]).await;
    let expected = [
        at(2, "MATCHED", Some(&second)),
        at(3, "MATCHED", Some(&first)),
    ];
    assert_eq!(recon.items(&right).await, expected);
    assert_eq!(recon.items(&wrong).await, [at(2, "SUPERSEDED", None)]);
}

#[tokio::test]
async fn what_does_not_match_is_told_once_in_order() {
    let recon = Recon::new().await;
    let ours = Ours::capture(100);
    recon.ingest(slice::from_ref(&ours)).await;
    let unknown = Ours::capture(200);
    let file = recon.file(&[unknown.row("k")]).await;
    recon.ingest(&[Ours::capture(300)]).await;
    recon.matched().await;
    let told: Vec<(u32, String, String)> = sqlx::query_as(
        "SELECT agg_seq, type, payload FROM outbox_event WHERE aggregateid = ? ORDER BY id",
    )
    .bind(&file)
    .fetch_all(recon.0.bed.database())
    .await
    .unwrap();
    let types: Vec<_> = told.iter().map(|it| (it.0, it.1.as_str())).collect();
    let unmatched = "recon.unmatched";
    let expected = [
        (1, "recon.file-uploaded"),
        (2, unmatched),
        (3, unmatched),
        (4, unmatched),
    ];
    assert_eq!(types, expected);
    assert!(told[1].2.contains("MISSING_INTERNAL"), "{}", told[1].2);
    assert!(told[2].2.contains(&ours.key()), "{}", told[2].2);
}
