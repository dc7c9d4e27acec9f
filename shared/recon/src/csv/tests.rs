use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use source::Kind;

use super::*;

const HEADER: &str = "transaction_key,type,amount,date\n";

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// The amounts of the rows that can be read, and the numbers of the others.
fn amounts(body: &[u8]) -> (Vec<u64>, Vec<u32>) {
    let csv = Csv::of(Bytes::copy_from_slice(body)).unwrap();
    let (mut amounts, mut faults) = (Vec::new(), Vec::new());
    for row in csv.rows().unwrap() {
        match row.unwrap() {
            (_, Ok(row)) => amounts.push(row.amount.minor()),
            (number, Err(_)) => faults.push(number),
        }
    }
    assert_eq!(amounts.len() + faults.len(), csv.rows as usize);
    (amounts, faults)
}

fn with_rows(rows: &str) -> String {
    format!("{HEADER}{rows}")
}

#[test]
fn plain_marked_and_packed_files_say_the_same() {
    let plain = with_rows("k1,CAPTURE,10,2026-03-31\nk2,REFUND,20,2026-03-31\n");
    let marked = format!("\u{feff}{plain}");
    let crlf = plain.replace('\n', "\r\n");
    let expected = (vec![10, 20], vec![]);
    for body in [plain.as_bytes(), marked.as_bytes(), crlf.as_bytes()] {
        assert_eq!(amounts(body), expected);
        assert_eq!(amounts(&gzip(body)), expected);
    }
    let two = [
        gzip(HEADER.as_bytes()),
        gzip(&plain.as_bytes()[HEADER.len()..]),
    ]
    .concat();
    assert_eq!(amounts(&two), expected);
}

#[test]
fn korean_file_is_read_in_both_encodings() {
    let text = "거래키,구분,금액,거래일시,상태\nk1,승인,\"1,000\",2026-03-31 10:00:00,완료\nk2,취소,-500,2026/03/31,완료\n";
    let (cp949, _, _) = EUC_KR.encode(text);
    for body in [text.as_bytes(), &cp949] {
        let csv = Csv::of(Bytes::copy_from_slice(body)).unwrap();
        assert_eq!(csv.profile.name, "toss");
        let rows: Vec<_> = csv
            .rows()
            .unwrap()
            .map(|row| row.unwrap().1.unwrap())
            .collect();
        assert_eq!(rows[1].kind, Kind::Refund);
        assert_eq!(rows[0].amount.minor(), 1_000);
    }
}

#[test]
fn row_that_cannot_be_read_does_not_stop_the_others() {
    let body = with_rows(
        "k1,CAPTURE,10,2026-03-31\nk2,CAPTURE,1e9,2026-03-31\nk3,CAPTURE\n\n\"a\nb\",CAPTURE,7,2026-03-31\nk5,CAPTURE,8,2026-03-31,extra\nk6,CAPTURE,9,2026-03-31",
    );
    assert_eq!(amounts(body.as_bytes()), (vec![10, 9], vec![3, 4, 5, 6]));
}

#[test]
fn bytes_that_are_no_text_are_a_fault_of_their_row() {
    let mut body = with_rows("k1,CAPTURE,10,2026-03-31\n").into_bytes();
    body.extend(b"k\xff\xff,CAPTURE,11,2026-03-31\nk3,CAPTURE,12,2026-03-31\n");
    assert_eq!(amounts(&body), (vec![10, 12], vec![3]));
}

#[test]
fn what_is_no_such_file_is_refused_as_a_whole() {
    let open = with_rows(&format!("\"{}", "x\n".repeat(RECORD_BYTES_MAX)));
    let wide = with_rows(&",".repeat(FIELDS_MAX + 1));
    let row = "k1,CAPTURE,10,2026-03-31\n";
    let mut broken = gzip(with_rows(row).as_bytes());
    broken.truncate(broken.len() - 6);
    let cases: [(&[u8], &str); 10] = [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (HEADER.as_bytes(), "the file has no rows"),
        (b"a,b,c\n1,2,3\n", "no profile has these columns"),
        (b"PK\x03\x04....", "the file is no CSV: it is a ZIP archive"),
        (b"\xff\xfea\0,\0", "the file is no CSV: it is UTF-16"),
        (b"\xfe\xff\0a\0,", "the file is no CSV: it is UTF-16"),
        (open.as_bytes(), "record 2 has more than 65536 bytes"),
        (wide.as_bytes(), "record 2 has more than 256 fields"),
        (&broken, "the file cannot be unpacked"),
    ];
    for (body, why) in cases {
        let error = Csv::of(Bytes::copy_from_slice(body))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

#[test]
fn file_that_grows_too_large_when_it_is_unpacked_is_refused() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(HEADER.as_bytes()).unwrap();
    let blank = vec![b'\n'; 1024 * 1024];
    for _ in 0..=PLAIN_BYTES_MAX / blank.len() as u64 {
        encoder.write_all(&blank).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(matches!(Csv::of(bomb.into()), Err(CsvError::TooLarge)));
}
