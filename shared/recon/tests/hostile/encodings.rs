use std::io::Write as _;

use encoding_rs::EUC_KR;
use flate2::{Compression, write::GzEncoder};

use super::{File, HEADER, ROW, with};

const TOSS: &str = "거래키,구분,금액,거래일시,상태\nk1,승인,\"1,000\",2026-03-31 10:00:00,완료\n";
/// Unpacked, the most that a bomb is; what a file may be is less.
const BOMB_MIB: usize = 600;

/// Bytes that are not what they seem to be.
pub(crate) fn files() -> Vec<File> {
    [marks(), wrong_text(), packed(), other_kinds()].concat()
}

fn marks() -> Vec<File> {
    let (cp949, _, _) = EUC_KR.encode(TOSS);
    let marked = |text: &str| format!("\u{feff}{text}");
    vec![
        File::read("UTF-8 with a mark", marked(TOSS), 1, &[]),
        File::read("CP949", cp949.to_vec(), 1, &[]),
        File::refused(
            "two marks, and nothing",
            "\u{feff}\u{feff}",
            "the file has no rows",
        ),
        File::read("two marks", marked(&marked(TOSS)), 1, &[]),
        File::refused("a mark alone", "\u{feff}", "the file is empty"),
        File::read(
            "a mark of UTF-8 before CP949",
            [b"\xef\xbb\xbf".as_slice(), &cp949].concat(),
            1,
            &[],
        ),
        File::refused(
            "UTF-16, little end first",
            utf16(TOSS, u16::to_le_bytes, &[0xff, 0xfe]),
            "the file is no CSV: it is UTF-16",
        ),
        File::refused(
            "UTF-16, big end first",
            utf16(TOSS, u16::to_be_bytes, &[0xfe, 0xff]),
            "the file is no CSV: it is UTF-16",
        ),
        File::refused(
            "UTF-16 without a mark",
            utf16(HEADER, u16::to_le_bytes, &[]),
            "no profile has these columns",
        ),
        File::refused(
            "UTF-32",
            b"\xff\xfe\0\0t\0\0\0".as_slice(),
            "the file is no CSV: it is UTF-16",
        ),
        File::refused(
            "EBCDIC",
            b"\xa3\x99\x81\x95\xa2\x81\x83\xa3\x89\x96\x95\x25\xf1\x25".as_slice(),
            "the file has no rows",
        ),
    ]
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2], mark: &[u8]) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(bytes);
    mark.iter().copied().chain(units).collect()
}

fn wrong_text() -> Vec<File> {
    let row = |key: &[u8]| [HEADER.as_bytes(), key, &ROW.as_bytes()[2..], ROW.as_bytes()].concat();
    let wrong = |name: &str, key: &[u8], why: &str| File::read(name, row(key), 1, &[(2, why)]);
    let text = "neither UTF-8 nor CP949";
    vec![
        wrong("a lone continuation", b"\x80", text),
        wrong("an overlong NUL", b"\xc0\x80", text),
        wrong("a code point that is none", b"\xf4\x90\x80\x80", text),
        wrong("a byte that is never one", b"\xff", text),
        wrong("five bytes", b"\xf8\x88\x80\x80\x80", text),
        // What is no UTF-8 may be CP949.
        File::read("an overlong slash", row(b"\xc0\xaf"), 2, &[]),
        File::read(
            "a character cut in two by the comma",
            row(b"\xea\xb0"),
            2,
            &[],
        ),
        File::read(
            "half a surrogate pair",
            row(b"\xed\xa0\x80k"),
            1,
            &[(2, text)],
        ),
        wrong("NUL", b"a\0b", "too long or unreadable"),
        wrong("an escape sequence", b"\x1b[2Jk", "too long or unreadable"),
        wrong("a backspace", b"k\x08", "too long or unreadable"),
        wrong("a bell", b"k\x07", "too long or unreadable"),
        wrong("delete", b"k\x7f", "too long or unreadable"),
        wrong(
            "a C1 control",
            "k\u{85}x".as_bytes(),
            "too long or unreadable",
        ),
    ]
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn bomb(piece: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(HEADER.as_bytes()).unwrap();
    let mib = piece.repeat(1024 * 1024 / piece.len());
    for _ in 0..BOMB_MIB {
        encoder.write_all(&mib).unwrap();
    }
    encoder.finish().unwrap()
}

fn packed() -> Vec<File> {
    let good = gzip(&with(ROW));
    let half = good[..good.len() / 2].to_vec();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let mut checksum = good.clone();
    let end = checksum.len() - 8;
    checksum[end] ^= 1;
    let unpack = "the file cannot be unpacked";
    vec![
        File::read("gzip", good.clone(), 1, &[]),
        File::read(
            "gzip in two members",
            [gzip(HEADER.as_bytes()), gzip(ROW.as_bytes())].concat(),
            1,
            &[],
        ),
        File::refused("gzip of gzip", gzip(&good), "no profile has these columns"),
        File::refused("gzip of nothing", gzip(b""), "the file is empty"),
        File::refused(
            "gzip of a ZIP",
            gzip(b"PK\x03\x04\n1\n"),
            "no profile has these columns",
        ),
        File::refused("gzip cut in half", half, unpack),
        File::refused("gzip with a byte changed", flipped, unpack),
        File::refused("gzip with a wrong checksum", checksum, unpack),
        File::refused("gzip's first bytes alone", b"\x1f\x8b".as_slice(), unpack),
        File::refused(
            "gzip with another file behind it",
            [good.clone(), ROW.into()].concat(),
            unpack,
        ),
        File::refused(
            "a bomb of blank lines",
            bomb(b"\n"),
            "the file has more than 536870912 bytes",
        ),
        File::refused(
            "a bomb of one field",
            bomb(b"x"),
            "record 2 has more than 65536 bytes",
        ),
        File::refused(
            "a bomb of commas",
            bomb(b","),
            "record 2 has more than 256 fields",
        ),
        File::refused(
            "a bomb of short rows",
            bomb(b"1\n"),
            "the file has more than 2000000 rows",
        ),
    ]
}

fn other_kinds() -> Vec<File> {
    let kind = |name: &str, bytes: &[u8], why: &str| File::refused(name, bytes.to_vec(), why);
    vec![
        kind(
            "ZIP",
            b"PK\x03\x04\n1\n",
            "the file is no CSV: it is a ZIP archive",
        ),
        kind(
            "Excel of 1997",
            b"\xd0\xcf\x11\xe0\n1\n",
            "the file is no CSV: it is an Excel file",
        ),
        kind(
            "PDF",
            b"%PDF-1.7\n1 0 obj\n",
            "no profile has these columns",
        ),
        kind(
            "PNG",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "no profile has these columns",
        ),
        kind(
            "ELF",
            b"\x7fELF\x02\x01\n1\n",
            "no profile has these columns",
        ),
        kind(
            "zstd",
            b"\x28\xb5\x2f\xfd\n1\n",
            "no profile has these columns",
        ),
        kind("xz", b"\xfd7zXZ\0\n1\n", "no profile has these columns"),
        kind("bzip2", b"BZh91AY&SY\n1\n", "no profile has these columns"),
        kind(
            "HTML",
            b"<!doctype html>\n<table>\n",
            "no profile has these columns",
        ),
        kind(
            "JSON",
            b"[{\"amount\":1}]\n{}\n",
            "no profile has these columns",
        ),
        kind(
            "XML",
            b"<?xml version=\"1.0\"?>\n<a/>\n",
            "no profile has these columns",
        ),
        kind(
            "a log",
            "2026-03-31 error\n".repeat(100).as_bytes(),
            "no profile has these columns",
        ),
    ]
}
