use proptest::prelude::*;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use serde_json::{Value, json};

use super::*;

fn message(
    offset: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(String, Vec<u8>)],
) -> OwnedMessage {
    let all = headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            let value = Some(value);
            all.insert(Header { key, value })
        });
    let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
    let time = Timestamp::CreateTime(1_545_084_650_987);
    OwnedMessage::new(value, key, "t".to_owned(), time, 3, offset, Some(all))
}

fn batch(messages: &[OwnedMessage]) -> Batch {
    let shape = Shape::new("a:9092,b:9092", "t", 3);
    let mut draft = Draft::new(&shape);
    for message in messages {
        draft.push(&shape, message);
    }
    draft.finish()
}

#[test]
fn event_is_that_of_aws() {
    let headers = [("n".to_owned(), vec![0, 9, 10, 99, 100, 127, 128, 195, 255])];
    let batch = batch(&[
        message(7, Some(b"k\xff"), Some(b"hello"), &headers),
        message(9, None, None, &[]),
    ]);
    let event: Value = serde_json::from_slice(&batch.event(&[0, 1])).expect("JSON");
    let expected = json!({
        "eventSource": "aws:SelfManagedKafka",
        "bootstrapServers": "a:9092,b:9092",
        "records": {"t-3": [
            {"topic": "t", "partition": 3, "offset": 7, "timestamp": 1_545_084_650_987_i64,
             "timestampType": "CREATE_TIME", "key": "a/8=", "value": "aGVsbG8=",
             "headers": [{"n": [0, 9, 10, 99, 100, 127, -128, -61, -1]}]},
            {"topic": "t", "partition": 3, "offset": 9, "timestamp": 1_545_084_650_987_i64,
             "timestampType": "CREATE_TIME", "key": null, "value": null, "headers": []},
        ]},
    });
    assert_eq!(event, expected);
    assert_eq!(batch.key(0).as_deref(), Some(&b"a/8="[..]));
    assert_eq!(batch.key(1), None);
}

#[test]
fn some_records_of_a_batch_make_an_event_of_their_own() {
    let batch = batch(&[1, 2, 3].map(|offset| message(offset, None, Some(b"v"), &[])));
    let event: Value = serde_json::from_slice(&batch.event(&[0, 2])).expect("JSON");
    let records = event["records"]["t-3"].as_array().expect("records");
    let offsets: Vec<_> = records.iter().map(|it| &it["offset"]).collect();
    assert_eq!(offsets, [1, 3]);
    assert_eq!(batch.event(&[1]).len(), batch.bytes_alone(1));
}

#[test]
fn last_record_can_begin_the_next_event() {
    let shape = Shape::new("a:9092", "t", 3);
    let mut draft = Draft::new(&shape);
    for offset in [1, 2] {
        draft.push(&shape, &message(offset, Some(b"key"), Some(b"v"), &[]));
    }
    let next = draft.split_last(&shape).expect("a record").finish();
    let first = draft.finish();
    for (batch, offset) in [(first, 1), (next, 2)] {
        let event: Value = serde_json::from_slice(&batch.event(&[0])).expect("JSON");
        assert_eq!(event["records"]["t-3"][0]["offset"], offset);
        assert_eq!(batch.key(0).as_deref(), Some(&b"a2V5"[..]));
    }
}

#[test]
fn record_without_a_time_has_none() {
    for time in [Timestamp::NotAvailable, Timestamp::CreateTime(-1)] {
        let message = OwnedMessage::new(None, None, "t".to_owned(), time, 3, 7, None);
        assert_eq!(batch(&[message]).places[0].timestamp_ms, None);
    }
}

proptest! {
    #[test]
    fn record_is_read_back_as_it_was(
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers in proptest::collection::vec(("[^\\x00]{0,8}", any::<Vec<u8>>()), 0..4),
    ) {
        let batch = batch(&[message(5, key.as_deref(), value.as_deref(), &headers)]);
        let record = batch.record(0).expect("a record");
        prop_assert_eq!(record.key().expect("base64"), key);
        prop_assert_eq!(record.value().expect("base64"), value);
        let read: Vec<_> = record.headers().map(|(name, value)| (name.to_owned(), value)).collect();
        prop_assert_eq!(read, headers);
    }
}
