use super::{File, ROW, with};

/// Fields that are not what their column says, each in a row between two that are right.
pub(crate) fn files() -> Vec<File> {
    [amounts(), days(), kinds(), keys(), others()].concat()
}

/// Columns of the header, from 0.
const KEY: usize = 0;
const PAYMENT: usize = 1;
const APPROVAL: usize = 2;
const KIND: usize = 3;
const AMOUNT: usize = 4;
const CURRENCY: usize = 5;
const DAY: usize = 6;
const STATUS: usize = 7;

fn with_field(column: usize, text: &str) -> Vec<u8> {
    let mut fields: Vec<&str> = ROW.trim_end().split(',').collect();
    let quoted = format!("\"{}\"", text.replace('"', "\"\""));
    fields[column] = &quoted;
    with(&format!("{ROW}{}\n{ROW}", fields.join(",")))
}

fn wrong(column: usize, texts: &[&str], why: &str) -> Vec<File> {
    let file = |text: &&str| {
        let name = format!("{why} {column}: {}", text.escape_debug());
        File::read(&name, with_field(column, text), 2, &[(3, why)])
    };
    texts.iter().map(file).collect()
}

fn right(column: usize, texts: &[&str]) -> Vec<File> {
    let file = |text: &&str| {
        let name = format!("read {column}: {}", text.escape_debug());
        File::read(&name, with_field(column, text), 3, &[])
    };
    texts.iter().map(file).collect()
}

fn amounts() -> Vec<File> {
    let bad = [
        "",
        "0",
        "-0",
        "00",
        "1e9",
        "1E3",
        "1.0",
        "10.",
        ".5",
        "+5",
        "-5",
        "--5",
        "５",
        "١٢",
        "1,50",
        "1,0000",
        ",5",
        "12,",
        "1 000",
        "1_000",
        "1'000",
        "1\u{a0}000",
        "0x10",
        "0b1",
        "NaN",
        "Infinity",
        "null",
        "true",
        "₩10",
        "10원",
        "$10",
        "(10)",
        "=1+1",
        "=HYPERLINK(1)",
        "+1+1",
        "@SUM(1)",
        "10;",
        "10\0",
        "9223372036854775808",
        "18446744073709551616",
        "9007199254740993000000",
        "-9223372036854775808",
        "١",
        "Ⅹ",
        "½",
        "10\u{202e}01",
        "1\n0",
    ];
    let good = ["1", "001", "1,000", "1,234,567", "9007199254740991"];
    [wrong(AMOUNT, &bad, "not an amount"), right(AMOUNT, &good)].concat()
}

fn days() -> Vec<File> {
    let bad = [
        "",
        "2026-02-30",
        "2026-13-01",
        "2025-02-29",
        "2026-00-10",
        "2026-03-00",
        "31/03/2026",
        "03-31-2026",
        "20260332",
        "2026-03-31T25:00:00Z",
        "2026-03-31 24:00:00",
        "2026-03-31T10:00:00+99:00",
        "1774915200",
        "44000",
        "today",
        "二〇二六-三-三一",
        "２０２６-03-31",
        "2026-03-31;DROP TABLE recon_row",
        "=TODAY()",
        "+262143-01-01",
        "99999999-01-01",
        "2026-3",
        "-2026-03-31",
        "0000-01-01",
        "0999-12-31",
        "0000-01-01T00:00:00Z",
        "10000-01-01",
    ];
    let good = [
        "2024-02-29",
        "2026/03/31",
        "20260331",
        "2026-03-31 23:59:59",
        "2026-03-31T15:00:00Z",
        "2026-03-31T23:59:60Z",
    ];
    [wrong(DAY, &bad, "not a date"), right(DAY, &good)].concat()
}

fn kinds() -> Vec<File> {
    let bad = [
        "",
        "GIFT",
        "CAPTURE;REFUND",
        "ＣＡＰＴＵＲＥ",
        "CAPTUR",
        "승인",
        "=CAPTURE",
        "captured\0",
    ];
    [
        wrong(KIND, &bad, "unknown type"),
        right(KIND, &["capture", " Capture ", "PAYMENT"]),
    ]
    .concat()
}

fn keys() -> Vec<File> {
    let long = "k".repeat(65);
    let bad = [long.as_str(), "a\tb", "a\rb", "\u{0}", "a\u{9f}b"];
    // Text that a spreadsheet would run is kept as it is, and escaped where it is written out.
    let kept = [
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "' OR 1=1 --",
        "${jndi:ldap://127.0.0.1/a}",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "%00",
        "{{7*7}}",
        "\u{202e}k",
        "🙂",
        "pay_00000000000000000000000000000000-0",
        "pay_zzzz-1",
        "pay_-1",
        "pay_0195e0c0a1b27c3d8e4f5a6b7c8d9e0f-4294967296",
    ];
    [
        wrong(KEY, &bad, "too long or unreadable"),
        right(KEY, &kept),
        right(
            PAYMENT,
            &[
                "pay_",
                "pay_0",
                "null",
                "0195e0c0-a1b2-7c3d-8e4f-5a6b7c8d9e0f",
            ],
        ),
    ]
    .concat()
}

fn others() -> Vec<File> {
    [
        wrong(APPROVAL, &["승인번호", "１２３"], "not an approval number"),
        wrong(
            APPROVAL,
            &["12345678901234567", "12\t34"],
            "too long or unreadable",
        ),
        right(APPROVAL, &["00000000", "A-1", "="]),
        wrong(
            CURRENCY,
            &["KR", "KRWW", "krw;", "₩", "XXX1", "０００"],
            "unknown currency",
        ),
        wrong(
            STATUS,
            &["MAYBE", "0", "완료", "DONE\u{200b}"],
            "unknown status",
        ),
        right(STATUS, &["", "completed", "CANCELED"]),
    ]
    .concat()
}
