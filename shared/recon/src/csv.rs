//! CSV as acquirers send it: UTF-8, with a byte order mark or not, or CP949; as it is or as gzip.
//!
//! A file is read twice, with memory for one record: first whether it is one at all, then its rows. A
//! row that cannot be read does not stop the others.

use std::{
    borrow::Cow,
    io::{self, BufRead, BufReader, Read},
};

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader};
use encoding_rs::EUC_KR;
use flate2::read::MultiGzDecoder;

use crate::{Fault, Profile, TheirRow, profile::Places, row};

/// Most bytes of a file, once it is unpacked.
pub const PLAIN_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Most bytes of a record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Most fields of a record.
pub const FIELDS_MAX: usize = 256;
/// Most rows of a file.
pub const ROWS_MAX: u32 = 2_000_000;
/// Read at once.
const BUFFER_BYTES: usize = 64 * 1024;
const GZIP: &[u8] = &[0x1f, 0x8b];
/// What other kinds of files begin with.
const OTHERS: [(&[u8], &str); 4] = [
    (b"PK\x03\x04", "it is a ZIP archive"),
    (&[0xff, 0xfe], "it is UTF-16; save it as UTF-8"),
    (&[0xfe, 0xff], "it is UTF-16; save it as UTF-8"),
    (
        &[0xd0, 0xcf, 0x11, 0xe0],
        "it is an Excel file; save it as CSV",
    ),
];

/// Why a file is none that can be read.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// It has no header.
    #[error("the file is empty")]
    Empty,
    /// It has a header alone.
    #[error("the file has no rows")]
    NoRows,
    /// It is of another kind.
    #[error("the file is no CSV: {0}")]
    Other(&'static str),
    /// No profile has this header.
    #[error("no profile has these columns: {0}")]
    Header(String),
    /// Too large once unpacked.
    #[error("the file has more than {PLAIN_BYTES_MAX} bytes once it is unpacked")]
    TooLarge,
    /// Too many rows.
    #[error("the file has more than {ROWS_MAX} rows")]
    TooManyRows,
    /// A record that does not end, perhaps for a quotation mark that is not closed.
    #[error("record {0} has more than {RECORD_BYTES_MAX} bytes; is a quotation mark not closed?")]
    LongRecord(u32),
    /// Too many fields.
    #[error("record {0} has more than {FIELDS_MAX} fields")]
    ManyFields(u32),
    /// The gzip is broken.
    #[error("the file cannot be unpacked: {0}")]
    Unpack(#[from] io::Error),
}

/// A file that can be read, perhaps without some of its rows.
#[derive(Debug)]
pub struct Csv {
    body: Bytes,
    utf8: bool,
    places: Places,
    columns: usize,
    /// Whose it is.
    pub profile: &'static Profile,
    /// How many rows it has, without the header.
    pub rows: u32,
}

impl Csv {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// [`CsvError`].
    pub fn of(body: Bytes) -> Result<Self, CsvError> {
        let mut records = Records::of(&body)?;
        if !records.advance()? {
            return Err(CsvError::Empty);
        }
        let mut utf8 = records.is_utf8();
        let header: Vec<Vec<u8>> = records.fields().map(<[u8]>::to_vec).collect();
        while records.advance()? {
            utf8 &= records.is_utf8();
            if records.number > ROWS_MAX + 1 {
                return Err(CsvError::TooManyRows);
            }
        }
        if records.number < 2 {
            return Err(CsvError::NoRows);
        }
        let rows = records.number - 1;
        drop(records);
        let texts: Vec<String> = header.iter().map(|it| header_text(it, utf8)).collect();
        let names: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (profile, places) =
            Profile::of(&names).ok_or_else(|| CsvError::Header(shown(&names)))?;
        Ok(Self {
            body,
            utf8,
            places,
            columns: names.len(),
            profile,
            rows,
        })
    }

    /// Reads its rows.
    ///
    /// # Errors
    /// None that [`Csv::of`] did not have.
    pub fn rows(&self) -> Result<Rows<'_>, CsvError> {
        let mut records = Records::of(&self.body)?;
        records.advance()?;
        Ok(Rows { csv: self, records })
    }

    fn row(&self, records: &Records<'_>) -> Result<TheirRow, Fault> {
        let found = records.fields().count();
        if found != self.columns {
            let why = format!("it has {found} fields, the header has {}", self.columns);
            return Err(Fault(why));
        }
        let mut fields = Vec::with_capacity(found);
        for field in records.fields() {
            let field = text(field, self.utf8);
            fields.push(field.ok_or_else(|| Fault("neither UTF-8 nor CP949".to_owned()))?);
        }
        row::read(self.profile, &self.places, &fields)
    }
}

/// The rows of a file: the number of the record, from 2 because the header is the first, and what it
/// says.
pub struct Rows<'a> {
    csv: &'a Csv,
    records: Records<'a>,
}

impl Iterator for Rows<'_> {
    type Item = Result<(u32, Result<TheirRow, Fault>), CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.records.advance() {
            Ok(true) => Some(Ok((self.records.number, self.csv.row(&self.records)))),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// `None` when the bytes are no text.
fn text(bytes: &[u8], utf8: bool) -> Option<Cow<'_, str>> {
    if utf8 {
        return std::str::from_utf8(bytes).ok().map(Cow::from);
    }
    EUC_KR.decode_without_bom_handling_and_without_replacement(bytes)
}

fn header_text(bytes: &[u8], utf8: bool) -> String {
    let text = text(bytes, utf8).unwrap_or_else(|| String::from_utf8_lossy(bytes));
    text.trim_start_matches('\u{feff}').to_owned()
}

fn shown(names: &[&str]) -> String {
    let Fault(shown) = Fault::new("columns", &names.join(", "));
    shown
}

/// The records of a file, one at a time.
struct Records<'a> {
    input: BufReader<io::Take<Box<dyn Read + Send + 'a>>>,
    parser: Reader,
    bytes: Box<[u8]>,
    ends: Box<[usize]>,
    length: usize,
    count: usize,
    /// Of the record that was read last, from 1.
    number: u32,
}

impl<'a> Records<'a> {
    fn of(body: &'a [u8]) -> Result<Self, CsvError> {
        if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| body.starts_with(magic)) {
            return Err(CsvError::Other(what));
        }
        let plain: Box<dyn Read + Send + 'a> = if body.starts_with(GZIP) {
            Box::new(MultiGzDecoder::new(body))
        } else {
            Box::new(body)
        };
        Ok(Self {
            input: BufReader::with_capacity(BUFFER_BYTES, plain.take(PLAIN_BYTES_MAX + 1)),
            parser: Reader::new(),
            bytes: vec![0; RECORD_BYTES_MAX].into(),
            ends: vec![0; FIELDS_MAX].into(),
            length: 0,
            count: 0,
            number: 0,
        })
    }

    /// Reads the next record; `false` at the end of the file.
    fn advance(&mut self) -> Result<bool, CsvError> {
        (self.length, self.count) = (0, 0);
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, written, ends) = self.parser.read_record(
                input,
                &mut self.bytes[self.length..],
                &mut self.ends[self.count..],
            );
            self.input.consume(read);
            self.length += written;
            self.count += ends;
            if self.input.get_ref().limit() == 0 {
                return Err(CsvError::TooLarge);
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Err(CsvError::LongRecord(self.number + 1)),
                ReadRecordResult::OutputEndsFull => {
                    return Err(CsvError::ManyFields(self.number + 1));
                }
                ReadRecordResult::Record => {
                    self.number += 1;
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    fn is_utf8(&self) -> bool {
        std::str::from_utf8(&self.bytes[..self.length]).is_ok()
    }

    fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let ends = &self.ends[..self.count];
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts
            .zip(ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }
}

#[cfg(test)]
mod tests;
