//! The frame of an HTML report, and tables.

use std::fmt::Display;

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Style of every report. Plots are drawn in black; the rules for `svg` replace black by the text colour of the scheme.
const STYLE: &str = "
:root{color-scheme:light dark;--text:#1d2430;--muted:#5b6472;--line:#e0e4ea;--page:#fff;--ok:#12733b;--failed:#b3261e}
@media(prefers-color-scheme:dark){:root{--text:#d8dce3;--muted:#98a1b0;--line:#343a45;--page:#16181c;--ok:#6cc58a;--failed:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--text);background:var(--page)}
h2{margin:2.2rem 0 .4rem;font-size:1.2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse}
th,td{padding:.25rem 1.2rem .25rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--muted)}.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.ok{color:var(--ok)}.failed{color:var(--failed);font-weight:600}.muted,small{color:var(--muted)}
ul{margin:.2rem 0;padding-left:1.2rem}figure{margin:1.8rem 0}figcaption span{margin-left:1rem;white-space:nowrap}
svg{width:100%;height:auto}svg text{fill:var(--muted);font-family:system-ui,sans-serif}
svg [stroke='#000000']{stroke:var(--text)}";

/// Returns a complete HTML document with `title` as its heading. `body` follows the heading.
#[must_use]
pub fn page(title: &str, body: &Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { h1 { (title) } (body) }
        }
    };
    document.into_string()
}

/// One cell of a [`table`].
#[derive(Debug)]
pub struct TableCell {
    content: Markup,
    class: Option<&'static str>,
    /// Number of columns that the cell spans.
    columns: usize,
}

impl TableCell {
    /// A left-aligned text.
    pub fn text(text: impl Display) -> Self {
        Self::markup(html! { (text) })
    }

    /// A left-aligned piece of HTML.
    #[must_use]
    pub fn markup(content: Markup) -> Self {
        Self { content, class: None, columns: 1 }
    }

    /// A right-aligned number, with its unit if it has one.
    pub fn number(number: impl Display) -> Self {
        Self { class: Some("number"), ..Self::text(number) }
    }

    /// A result: green if `ok` is true, red if it is false, grey if it is unknown.
    pub fn result(ok: Option<bool>, text: impl Display) -> Self {
        let class = match ok {
            Some(true) => "ok",
            Some(false) => "failed",
            None => "muted",
        };
        Self { class: Some(class), ..Self::text(text) }
    }

    /// Makes the cell span `columns` columns of the table.
    #[must_use]
    pub fn spanning(self, columns: usize) -> Self {
        Self { columns, ..self }
    }
}

/// Returns a table with a heading. `header` may be empty.
pub fn table(title: &str, header: &[&str], rows: impl IntoIterator<Item = Vec<TableCell>>) -> Markup {
    let rows: Vec<_> = rows.into_iter().collect();
    let is_number = |column: usize| {
        rows.first().and_then(|row: &Vec<TableCell>| row.get(column)).is_some_and(|cell| cell.class == Some("number"))
    };
    html! {
        h2 { (title) }
        div.scroll {
            table {
                @if !header.is_empty() {
                    thead {
                        tr {
                            @for (column, name) in header.iter().enumerate() {
                                th class=[is_number(column).then_some("number")] { (name) }
                            }
                        }
                    }
                }
                tbody {
                    @for row in &rows {
                        tr {
                            @for cell in row {
                                td class=[cell.class] colspan=[(cell.columns > 1).then_some(cell.columns)] {
                                    (cell.content)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_and_table_escape_text() {
        let rows = [
            vec![TableCell::text("<b>"), TableCell::number("1 ms"), TableCell::result(Some(false), "no & yes")],
            vec![TableCell::text("all").spanning(3)],
        ];
        let html = page("a < b", &table("t", &["<i>", "time", "result"], rows));
        assert!(html.contains("<title>a &lt; b</title>") && html.contains("<td>&lt;b&gt;</td>"), "{html}");
        assert!(html.contains("<th class=\"number\">time</th>") && html.contains("<th>&lt;i&gt;</th>"), "{html}");
        assert!(
            html.contains("<td class=\"failed\">no &amp; yes</td>") && html.contains("<td colspan=\"3\">all</td>"),
            "{html}"
        );
    }
}
