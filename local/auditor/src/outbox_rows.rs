//! `outbox_pending` and `outbox_delivery`: every event is either waiting, not for long, or noted
//! where the broker put it.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    Books, Check, Options,
    snapshot::{CHUNK_ROWS, Snapshot},
};

/// Places of events in the books, by the id of the event's row.
type Places = HashMap<u64, (Uuid, usize)>;

pub(crate) async fn check(
    snapshot: &mut Snapshot,
    books: &mut Books,
    options: &Options,
) -> anyhow::Result<Check> {
    let mut check = Check::new("outbox");
    let mut places: Places = HashMap::new();
    for (payment, known) in books.iter() {
        let ids = known.iter().enumerate();
        places.extend(ids.map(|(index, known)| (known.id, (*payment, index))));
    }
    deliveries(snapshot, books, &places, &mut check).await?;
    let pending = pending(snapshot, books, &places, options, &mut check).await?;
    for (payment, known) in books.iter() {
        for known in known {
            check.ensure(
                known.delivered.is_some() != pending.contains_key(&known.id),
                || {
                    let name = payment::PaymentId::from(*payment);
                    let seq = known.state.version;
                    let both = known.delivered.is_some();
                    format!(
                        "{name} event {seq} is {} pending and delivered",
                        if both { "both" } else { "neither" }
                    )
                },
            );
        }
    }
    Ok(check)
}

/// Notes deliveries in the books.
async fn deliveries(
    snapshot: &mut Snapshot,
    books: &mut Books,
    places: &Places,
    check: &mut Check,
) -> anyhow::Result<()> {
    let mut after = 0_u64;
    loop {
        let rows: Vec<(u64, i32, i64)> = sqlx::query_as(
            "SELECT id, kafka_partition, kafka_offset FROM outbox_delivery \
              WHERE id > ? ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some((last, _, _)) = rows.last() else {
            return Ok(());
        };
        after = *last;
        for (id, partition, offset) in rows {
            check.count("delivered");
            let place = places.get(&id);
            let known = place.and_then(|(payment, index)| books.get_mut(payment)?.get_mut(*index));
            match known {
                Some(known) => known.delivered = Some((partition, offset)),
                None => check.violated(format!("delivery {id} is of no event")),
            }
        }
    }
}

/// The pointers, by the id of the event's row.
async fn pending(
    snapshot: &mut Snapshot,
    books: &Books,
    places: &Places,
    options: &Options,
    check: &mut Check,
) -> anyhow::Result<HashMap<u64, u16>> {
    let within = TimeDelta::from_std(options.pending_within)?;
    let rows: Vec<(u16, u64)> = sqlx::query_as("SELECT shard, id FROM outbox_pending")
        .fetch_all(&mut snapshot.db)
        .await?;
    for (shard, id) in &rows {
        check.count("pending");
        let Some((payment, index)) = places.get(id) else {
            check.violated(format!("pointer {shard}/{id} is to no event"));
            continue;
        };
        let name = payment::PaymentId::from(*payment).to_string();
        let right = outbox::shard(&name);
        check.ensure(*shard == right, || {
            format!("{name} has a pointer in shard {shard}, not {right}")
        });
        let age = snapshot.taken - books[payment][*index].created;
        check.ensure(age <= within, || {
            format!("{name} event {} waits for {age}", index + 1)
        });
    }
    let pointers = rows.len();
    let pending: HashMap<u64, u16> = rows.into_iter().map(|(shard, id)| (id, shard)).collect();
    check.ensure(pending.len() == pointers, || {
        "an event has two pointers".to_owned()
    });
    Ok(pending)
}
