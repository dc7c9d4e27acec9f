//! The headers of a record.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use rdkafka::message::{Header, Headers, Message};

static HUSHED: Once = Once::new();
static WARNED: Once = Once::new();

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// The headers of a record in their order, without those whose name is no UTF-8.
pub(super) fn headers<M: Message>(message: &M) -> impl Iterator<Item = Header<'_, &[u8]>> {
    readable(message.headers())
}

fn readable<H: Headers>(headers: Option<&H>) -> impl Iterator<Item = Header<'_, &[u8]>> {
    let all = headers.into_iter();
    all.flat_map(|headers| (0..headers.count()).filter_map(|index| read(headers, index)))
}

/// Kafka's brokers take any bytes as a name, but rdkafka panics at such a one; it reads and changes
/// nothing else, so nothing is left half done.
fn read<H: Headers>(headers: &H, index: usize) -> Option<Header<'_, &[u8]>> {
    HUSHED.call_once(hush);
    READS.set(true);
    let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index)));
    READS.set(false);
    header.unwrap_or_else(|_| {
        WARNED.call_once(|| {
            tracing::warn!("headers whose name is no UTF-8 are left out, here and later");
        });
        None
    })
}

/// Lets panics be silent that [`read`] catches: there may be one for each record of a topic.
fn hush() {
    let tell = take_hook();
    set_hook(Box::new(move |panic| {
        if !READS.get() {
            tell(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rdkafka does with these names.
    struct Names(&'static [&'static [u8]]);

    impl Headers for Names {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            let key = str::from_utf8(self.0.get(index)?).unwrap();
            Some(Header { key, value: None })
        }
    }

    #[test]
    fn header_that_cannot_be_read_is_left_out() {
        let names = Names(&[b"a", b"\xff", b"b"]);
        let read: Vec<_> = readable(Some(&names)).map(|header| header.key).collect();
        assert_eq!(read, ["a", "b"]);
        assert!(!READS.get(), "other panics are told");
    }
}
