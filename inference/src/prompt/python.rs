//! What of Python shows through in chat templates beyond what minijinja does: more methods of strings,
//! and how floats are written.

use minijinja::{Error, ErrorKind, State, Value, value::ValueKind};

/// Methods that minijinja and its `pycompat` do not have, or not as Python has them.
pub(super) fn unknown_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let (Some(text), "title", []) = (value.as_str(), method, args) {
        return Ok(title(text).into());
    }
    let known = minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args);
    match (known, value.as_str()) {
        (Err(error), Some(text)) if error.kind() == ErrorKind::UnknownMethod => {
            string_method(text, method, args).unwrap_or(Err(error))
        }
        (known, _) => known,
    }
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let arg = args.first().and_then(Value::as_str);
    let arg = match (method, arg) {
        ("rsplit", None) => "",
        (_, Some(arg)) => arg,
        (_, None) => return None,
    };
    let three = |(a, b, c): (&str, &str, &str)| [a, b, c].map(str::to_owned).to_vec().into();
    let found = match method {
        "removeprefix" => text.strip_prefix(arg).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(arg).unwrap_or(text).into(),
        "partition" => three(match text.split_once(arg) {
            Some((before, after)) => (before, arg, after),
            None => (text, "", ""),
        }),
        "rpartition" => three(match text.rsplit_once(arg) {
            Some((before, after)) => (before, arg, after),
            None => ("", "", text),
        }),
        "rsplit" => match rsplit(text, arg, args.get(1)) {
            Ok(parts) => Value::from(parts),
            Err(error) => return Some(Err(error)),
        },
        _ => return None,
    };
    Some(Ok(found))
}

fn rsplit(text: &str, by: &str, most: Option<&Value>) -> Result<Vec<String>, Error> {
    let most = match most {
        None => usize::MAX,
        Some(most) if most.kind() == ValueKind::Number => {
            usize::try_from(i64::try_from(most.clone())?).map_or(usize::MAX, |most| most + 1)
        }
        Some(_) => {
            let message = "rsplit: the number of splits must be a number";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    };
    let mut parts: Vec<String> = match by {
        "" => text.split_whitespace().rev().map(str::to_owned).collect(),
        by => text.rsplitn(most, by).map(str::to_owned).collect(),
    };
    parts.reverse();
    Ok(parts)
}

/// Every letter behind something else in upper case, the others in lower case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        match in_word {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        in_word = c.is_alphabetic();
    }
    out
}

/// A float as Python's `repr` writes it: the shortest digits that read back, with an exponent below
/// 1e-4 and from 1e16 on.
pub(super) fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_in_python() {
        for (number, text) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-3.25e22, "-3.25e+22"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(float(number), text);
        }
    }
}
