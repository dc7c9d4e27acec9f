//! The files, by what is wrong with them.

pub(crate) mod encodings;
pub(crate) mod fields;
pub(crate) mod shapes;

use bytes::Bytes;

pub(crate) const HEADER: &str =
    "transaction_key,payment_id,approval_number,type,amount,currency,date,status\n";
pub(crate) const ROW: &str = "k1,,,CAPTURE,10,KRW,2026-03-31,DONE\n";

/// A file and what shall become of it.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
    pub(crate) verdict: Verdict,
}

/// What becomes of a file. Reasons are the beginnings of what is said.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// None of it is taken.
    Refused(String),
    /// How many rows are taken, and which records are not.
    Read {
        rows: usize,
        faults: Vec<(u32, String)>,
    },
}

impl Verdict {
    /// Whether that was found, for these reasons.
    pub(crate) fn covers(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Refused(why), Self::Refused(said)) => said.starts_with(why),
            (
                Self::Read { rows, faults },
                Self::Read {
                    rows: taken,
                    faults: said,
                },
            ) => {
                let mut pairs = faults.iter().zip(said);
                rows == taken
                    && faults.len() == said.len()
                    && pairs.all(|((at, why), (record, said))| {
                        at == record && said.starts_with(why.as_str())
                    })
            }
            _ => false,
        }
    }
}

impl File {
    pub(crate) fn refused(name: &str, bytes: impl Into<Bytes>, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.into(),
            verdict: Verdict::Refused(why.to_owned()),
        }
    }

    pub(crate) fn read(
        name: &str,
        bytes: impl Into<Bytes>,
        rows: usize,
        faults: &[(u32, &str)],
    ) -> Self {
        let faults = faults.iter().map(|(at, why)| (*at, (*why).to_owned()));
        Self {
            name: name.to_owned(),
            bytes: bytes.into(),
            verdict: Verdict::Read {
                rows,
                faults: faults.collect(),
            },
        }
    }
}

/// A file of these rows.
pub(crate) fn with(rows: &str) -> Vec<u8> {
    format!("{HEADER}{rows}").into_bytes()
}
