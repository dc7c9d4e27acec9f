//! The transactional outbox: events written with the change they tell of, and the pointers that say
//! which of them the broker has not acknowledged.
//!
//! One module per table. Writers call [`event_table::append`]; the relay owns shards
//! ([`owner_table`]), reads what is pending ([`pending_table::read`]) and takes pointers away once
//! the broker has acknowledged ([`pending_table::settle`]).

mod event;
pub mod event_table;
pub mod owner_table;
pub mod pending_table;

pub use event::{Event, Request};
pub use pending_table::{Backlog, Delivery, Pending};

/// Shards of the pointers; an aggregate's events are all in one.
pub const SHARDS: u16 = 64;

/// The shard of an aggregate.
#[must_use]
pub fn shard(aggregate_id: &str) -> u16 {
    let shard = crc32fast::hash(aggregate_id.as_bytes()) % u32::from(SHARDS);
    u16::try_from(shard).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn shards_are_those_of_sql_crc32() {
        // SELECT CRC32('123456789') gives the check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32fast::hash(b"123456789"), 3_421_780_262);
        assert_eq!(super::shard("123456789"), (3_421_780_262_u32 % 64) as u16);
    }
}
