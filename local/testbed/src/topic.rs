use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use crate::{WAIT_MAX, events::config};

/// Makes a topic with one partition, which no function of the stack reads.
pub async fn make_topic(name: &str) {
    let admin: AdminClient<DefaultClientContext> = config().create().expect("a client");
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    let made = admin.create_topics(&[topic], &options).await;
    let made = made.expect("the broker answers").remove(0);
    made.expect("the topic is new");
}

/// Writes a message, and waits until it is on its topic.
pub async fn send(topic: &str, key: Option<&str>, value: &[u8], headers: &[(&str, &str)]) {
    let producer: FutureProducer = config().create().expect("a producer");
    let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, it)| {
        let value = Some(*it);
        all.insert(Header { key, value })
    });
    let mut record = FutureRecord::to(topic).payload(value).headers(headers);
    record.key = key;
    producer.send(record, WAIT_MAX).await.expect("it is sent");
}
