use super::{File, HEADER, ROW, with};

/// Records that do not have the shape they should have.
pub(crate) fn files() -> Vec<File> {
    [headers(), line_ends(), quotes(), sizes()].concat()
}

fn headers() -> Vec<File> {
    let header = |name: &str, header: &str| {
        let bytes = format!("{header}\n{ROW}");
        File::refused(name, bytes, "no profile has these columns")
    };
    let wide: Vec<String> = (0..200).map(|index| format!("c{index}")).collect();
    vec![
        File::refused("nothing", "", "the file is empty"),
        File::refused("blank lines", "\n\r\n\n", "the file is empty"),
        File::refused("a header alone", HEADER, "the file has no rows"),
        File::refused(
            "a header and blank lines",
            format!("{HEADER}\n\n\n"),
            "the file has no rows",
        ),
        header("no header", ROW.trim_end()),
        header("a column twice", "transaction_key,type,amount,amount,date"),
        header(
            "a column under two names",
            "transaction_key,type,kind,amount,date",
        ),
        header("no key", "type,amount,currency,date,status,a,b,c"),
        header(
            "no amount",
            "transaction_key,type,currency,date,status,a,b,c",
        ),
        header("two languages", "거래키,type,amount,date,a,b,c,d"),
        header("semicolons", &HEADER.trim_end().replace(',', ";")),
        header("tabs", &HEADER.trim_end().replace(',', "\t")),
        header("bars", &HEADER.trim_end().replace(',', "|")),
        header("full-width commas", &HEADER.trim_end().replace(',', "，")),
        header(
            "letters that look alike",
            &HEADER.trim_end().replace('a', "а"),
        ),
        header(
            "a hidden character",
            &HEADER.trim_end().replace("amount", "amo\u{200b}unt"),
        ),
        header(
            "text that runs backwards",
            &HEADER.trim_end().replace("date", "\u{202e}etad"),
        ),
        header("a title above it", "Statement of March"),
        header("200 other columns", &wide.join(",")),
        File::read(
            "capitals and blanks",
            format!("{}{ROW}", HEADER.to_uppercase().replace(',', " , ")),
            1,
            &[],
        ),
        File::read(
            "columns that nobody knows",
            "x,transaction_key,type,amount,date,y\n1,k1,CAPTURE,10,2026-03-31,2\n",
            1,
            &[],
        ),
    ]
}

fn line_ends() -> Vec<File> {
    let row = ROW.trim_end();
    let two = |end: &str| format!("{}{end}{row}{end}{row}", HEADER.trim_end());
    vec![
        File::read("CR LF", two("\r\n"), 2, &[]),
        File::read("CR alone", two("\r"), 2, &[]),
        File::read("LF CR", two("\n\r"), 2, &[]),
        File::read(
            "all of them",
            format!("{HEADER}{row}\r\n{row}\r{row}\n\n\r\n{row}"),
            4,
            &[],
        ),
        File::read("no end", with(row), 1, &[]),
        File::refused("a line separator", two("\u{2028}"), "the file has no rows"),
        File::refused("a form feed", two("\u{c}"), "the file has no rows"),
    ]
}

fn quotes() -> Vec<File> {
    let row = |name: &str, first: &str, rows: usize, faults: &[(u32, &str)]| {
        File::read(
            name,
            with(&format!("{first}{}{ROW}", &ROW[2..])),
            rows,
            faults,
        )
    };
    let open = format!("\"{ROW}").repeat(3);
    vec![
        row("a comma in quotes", "\"a,b\"", 2, &[]),
        row("a quote in quotes", "\"a\"\"b\"", 2, &[]),
        row("a quote in the middle", "a\"b", 2, &[]),
        row("text behind a quote", "\"a\"b", 2, &[]),
        row(
            "a line in quotes",
            "\"a\nb\"",
            1,
            &[(2, "too long or unreadable")],
        ),
        row("an apostrophe", "'a'", 2, &[]),
        row("a backslash", "a\\", 2, &[]),
        row("curly quotes", "“a", 2, &[]),
        File::read(
            "a quote that is not closed",
            with(&format!("\"{ROW}")),
            0,
            &[(2, "it has 1 fields")],
        ),
        File::refused(
            "a quote that is not closed, and a long file",
            with(&format!("\"{}", ROW.repeat(3_000))),
            "record 2 has more than 65536 bytes",
        ),
        File::read(
            "quotes that open again and again",
            with(&open),
            0,
            &[(2, "too long or unreadable"), (3, "it has 1 fields")],
        ),
    ]
}

fn sizes() -> Vec<File> {
    let short = "it has 3 fields, the header has 8";
    let long = format!("{}{}", "k".repeat(60_000), &ROW[2..]);
    vec![
        File::read(
            "too few fields",
            with(&format!("a,b,c\n{ROW}")),
            1,
            &[(2, short)],
        ),
        File::read(
            "too many fields",
            with(&format!("{},\n{ROW}", ROW.trim_end())),
            1,
            &[(2, "it has 9 fields")],
        ),
        File::read(
            "256 fields",
            with(&format!("{}\n{ROW}", ",".repeat(255))),
            1,
            &[(2, "it has 256 fields")],
        ),
        File::refused(
            "257 fields",
            with(&",".repeat(256)),
            "record 2 has more than 256 fields",
        ),
        File::refused(
            "100,000 columns",
            format!("{}\n{ROW}", ",".repeat(100_000)),
            "record 1 has more than 256 fields",
        ),
        File::read(
            "a long field",
            with(&format!("{long}{ROW}")),
            1,
            &[(2, "too long or unreadable")],
        ),
        File::refused(
            "a field that is too long",
            with(&"k".repeat(65_537)),
            "record 2 has more than 65536 bytes",
        ),
        File::refused(
            "a header that is too long",
            "h".repeat(70_000),
            "record 1 has more than 65536 bytes",
        ),
        File::refused(
            "a record of 16 MiB",
            with(&"k".repeat(16 * 1024 * 1024)),
            "record 2 has more than 65536 bytes",
        ),
        File::read(
            "commas alone",
            with(&format!(",,,,,,,\n{ROW}")),
            1,
            &[(2, "the row has no key")],
        ),
        File::read(
            "blanks alone",
            with(&format!(" , , , , , , , \n{ROW}")),
            1,
            &[(2, "the row has no key")],
        ),
        File::read(
            "10,000 rows that are wrong",
            with(&"a\n".repeat(10_000)),
            0,
            &(2..10_002)
                .map(|record| (record, "it has 1 fields"))
                .collect::<Vec<_>>(),
        ),
        File::read(
            "the same row 10,000 times",
            with(&ROW.repeat(10_000)),
            10_000,
            &[],
        ),
    ]
}
