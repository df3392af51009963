//! What a person sees of a response: the answer and what it cost, aligned, with units. Pure.

use std::fmt::Write;

use hyper::HeaderMap;
use serde_json::Value;

/// Width that an answer is wrapped to.
const WIDTH: usize = 88;

/// A header and what it says.
const HEADERS: [(&str, &str, &str); 10] = [
    ("x-vllm-total-time", "ms", "from arrival to the end"),
    ("x-vllm-queue-time", "ms", "waiting for a place in a batch"),
    ("x-vllm-inference-time", "ms", "prefill and decode together"),
    ("x-vllm-prefill-time", "ms", "reading the prompt"),
    ("x-vllm-decode-time", "ms", "writing the answer"),
    ("x-vllm-prompt-tokens", "tokens", ""),
    ("x-vllm-completion-tokens", "tokens", ""),
    (
        "x-vllm-cached-tokens",
        "tokens",
        "of the prompt, read before",
    ),
    ("x-vllm-time-per-output-token", "ms", "after the first"),
    (
        "x-candela-compute-time",
        "ms",
        "this request's share of compute time",
    ),
];

/// The cost headers of a response as a table; `None` if it has none.
pub fn headers(headers: &HeaderMap) -> Option<String> {
    let rows: Vec<Row> = HEADERS
        .iter()
        .filter_map(|(name, unit, note)| {
            let value = headers.get(*name)?.to_str().ok()?.to_owned();
            Some(Row {
                name: (*name).to_owned(),
                value,
                unit,
                note,
            })
        })
        .collect();
    (!rows.is_empty()).then(|| table(&rows))
}

/// The `metrics` object of a response as a table; `None` if it has none.
pub fn metrics(body: &Value) -> Option<String> {
    let metrics = body
        .get("metrics")?
        .as_object()
        .filter(|metrics| !metrics.is_empty())?;
    let rows: Vec<Row> = metrics
        .iter()
        .map(|(name, value)| {
            let unit = unit(name);
            let value = match value.as_f64() {
                _ if value.is_i64() || value.is_null() => value.to_string(),
                Some(number) => format!("{number:.2}"),
                None => value.to_string(),
            };
            Row {
                name: name.clone(),
                value,
                unit,
                note: "",
            }
        })
        .collect();
    Some(table(&rows))
}

/// The text of an answer, wrapped and indented.
pub fn answer(body: &Value, indent: &str) -> String {
    let text = body["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default()
        .trim();
    let mut wrapped = String::new();
    for line in text.lines() {
        let mut column = 0;
        let _ = write!(wrapped, "{indent}");
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > WIDTH {
                let _ = write!(wrapped, "\n{indent}");
                column = 0;
            } else if column > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += length;
        }
        wrapped.push('\n');
    }
    wrapped
}

struct Row<'a> {
    name: String,
    value: String,
    unit: &'a str,
    note: &'a str,
}

fn unit(name: &str) -> &'static str {
    match name {
        _ if name.ends_with("_ms") => "ms",
        "tokens_per_second" => "tokens/s",
        _ if name.ends_with("_tokens") => "tokens",
        _ => "",
    }
}

/// Names to the left, values with their decimal points in one column, units, notes.
fn table(rows: &[Row<'_>]) -> String {
    let whole = |value: &str| value.find('.').unwrap_or(value.len());
    let names = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let wholes = rows.iter().map(|row| whole(&row.value)).max().unwrap_or(0);
    let fractions = rows
        .iter()
        .map(|row| row.value.len() - whole(&row.value))
        .max()
        .unwrap_or(0);
    let units = rows.iter().map(|row| row.unit.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Row {
        name,
        value,
        unit,
        note,
    } in rows
    {
        let (integer, fraction) = value.split_at(whole(value));
        let line = format!(
            "  {name:names$}  {integer:>wholes$}{fraction:fractions$} {unit:units$}  {note}"
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decimal_points_stand_in_one_column() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("x-vllm-total-time", "1000.00"),
            ("x-vllm-queue-time", "5.25"),
            ("x-vllm-prompt-tokens", "50"),
        ] {
            map.insert(name, value.parse().unwrap());
        }
        assert_eq!(
            headers(&map).unwrap(),
            "  x-vllm-total-time     1000.00 ms      from arrival to the end\n\
             \x20 x-vllm-queue-time        5.25 ms      waiting for a place in a batch\n\
             \x20 x-vllm-prompt-tokens    50    tokens\n"
        );
        assert_eq!(headers(&HeaderMap::new()), None);
    }

    #[test]
    fn metrics_have_units_and_two_decimals() {
        let body = json!({"metrics": {"tokens_per_second": 6.666_666, "mean_itl_ms": null,
                                      "cached_tokens": 5}});
        assert_eq!(
            metrics(&body).unwrap(),
            "  tokens_per_second     6.67 tokens/s\n\
             \x20 mean_itl_ms        null    ms\n\
             \x20 cached_tokens         5    tokens\n"
        );
        assert_eq!(metrics(&json!({})), None);
    }

    #[test]
    fn long_answers_are_wrapped() {
        let body = json!({"choices": [{"message": {"content": "word ".repeat(40)}}]});
        let text = answer(&body, "  ");
        assert!(
            text.lines().count() == 3 && text.lines().all(|l| l.len() <= WIDTH + 2),
            "{text}"
        );
    }
}
