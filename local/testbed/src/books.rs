use auditor::{Options, Sources, audit};

use crate::Testbed;

impl Testbed {
    /// Proves the books of the whole stack, as `local/audit` does, once nothing is pending.
    pub async fn assert_books_hold(&self) {
        self.everything_sent().await;
        let sources = Sources::from_env().expect("the stack's addresses");
        let report = audit(&sources, &Options::default()).await;
        let report = report.expect("the books can be read");
        assert!(report.holds(), "{report}");
    }
}
